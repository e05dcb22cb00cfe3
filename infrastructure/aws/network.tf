# A network of its own for each run and provider instance: any number of them live side by side, and
# what is in one is theirs.

data "aws_ec2_instance_type_offerings" "zones" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = distinct(var.instance_types[*].instance_type)
  }
}

locals {
  # Zones that offer an instance type, by its name. The two lists of the data source run in step.
  offered = {
    for t in distinct(var.instance_types[*].instance_type) : t => sort([
      for i, name in data.aws_ec2_instance_type_offerings.zones.instance_types :
      data.aws_ec2_instance_type_offerings.zones.locations[i] if name == t
    ])
  }
  zone_of = {
    for t, zones in local.offered : t => var.availability_zone != null ? var.availability_zone : try(zones[0], "none")
  }
  zones = sort(distinct(values(local.zone_of)))
}

# Neither public names nor addresses by default: either costs ten seconds of waiting, and nobody needs them.
resource "aws_vpc" "run" {
  cidr_block = "10.0.0.0/16"
  tags       = { Name = local.name }
}

resource "aws_internet_gateway" "run" {
  vpc_id = aws_vpc.run.id
  tags   = { Name = local.name }
}

resource "aws_subnet" "public" {
  for_each = toset(local.zones)

  vpc_id            = aws_vpc.run.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(aws_vpc.run.cidr_block, 4, index(local.zones, each.key))
  tags              = { Name = "${local.name}-${each.key}" }

  lifecycle {
    precondition {
      condition     = each.key != "none"
      error_message = "Region ${var.region} has none of: ${join(", ", [for t, zone in local.zone_of : t if zone == "none"])}. Choose another region or instance type."
    }
  }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.run.id
  tags   = { Name = local.name }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.run.id
  }
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

# Hosts call out; nobody calls in, unless SSH was asked for.
resource "aws_security_group" "host" {
  name        = local.name
  description = "Task runner hosts of run ${var.run_id}"
  vpc_id      = aws_vpc.run.id
  tags        = { Name = local.name }

  egress {
    description = "Orchestrator, storage, packages"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }

  dynamic "ingress" {
    for_each = var.ssh_cidr == "" ? [] : [var.ssh_cidr]

    content {
      description = "SSH"
      protocol    = "tcp"
      from_port   = 22
      to_port     = 22
      cidr_blocks = [ingress.value]
    }
  }
}

resource "aws_key_pair" "ssh" {
  count = var.ssh_public_key == "" ? 0 : 1

  key_name   = local.name
  public_key = var.ssh_public_key
}

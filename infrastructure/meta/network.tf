resource "aws_vpc" "meta" {
  cidr_block = "10.0.0.0/24"
  tags       = { Name = local.name }
}

resource "aws_internet_gateway" "meta" {
  vpc_id = aws_vpc.meta.id
  tags   = { Name = local.name }
}

data "aws_ec2_instance_type_offerings" "zones" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [local.instance_type]
  }

  lifecycle {
    postcondition {
      condition     = length(self.locations) > 0
      error_message = "Region ${var.region} has no ${local.instance_type}: choose another instance type."
    }
  }
}

resource "aws_subnet" "public" {
  vpc_id            = aws_vpc.meta.id
  cidr_block        = aws_vpc.meta.cidr_block
  availability_zone = sort(data.aws_ec2_instance_type_offerings.zones.locations)[0]
  tags              = { Name = local.name }

  lifecycle {
    # Another list of zones must not move what is there.
    ignore_changes = [availability_zone]
  }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.meta.id
  tags   = { Name = local.name }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.meta.id
  }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "orchestrator" {
  name        = local.name
  description = "Orchestrator of ${var.owner}: HTTPS only"
  vpc_id      = aws_vpc.meta.id
  tags        = { Name = local.name }

  ingress {
    description = "Masters and task runners"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    description = "Storage, packages"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# The address outlives the instance: the next one gets the same.
resource "aws_eip" "orchestrator" {
  domain = "vpc"
  tags   = { Name = local.name }

  depends_on = [aws_internet_gateway.meta]
}

resource "aws_eip_association" "orchestrator" {
  allocation_id = aws_eip.orchestrator.id
  instance_id   = aws_instance.orchestrator.id
}

# The instance brings its interface, which takes no default tags.
resource "aws_ec2_tag" "interface" {
  for_each = local.tags

  resource_id = aws_instance.orchestrator.primary_network_interface_id
  key         = each.key
  value       = each.value
}

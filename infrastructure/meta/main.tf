# The orchestrator's instance. It ends itself when idle; the next run makes it anew behind the same address.

locals {
  name = "bench-meta-${var.owner}"

  tags = merge(var.tags, {
    bench_managed  = "true"
    bench_owner    = var.owner
    bench_run_id   = "meta-${var.owner}"
    bench_backend  = "meta"
    bench_provider = "meta"
    bench_ssh_user = "ec2-user"
    bench_ssh_port = "22"
  })

  instance_type = coalesce(var.instance_type, { arm64 = "t4g.small", x86_64 = "t3.small" }[var.arch])
}

# Amazon Linux 2023 with its default kernel: cloud-init, systemd 252, glibc 2.34, AWS CLI.
data "aws_ami" "al2023" {
  most_recent = true
  owners      = ["amazon"]

  filter {
    name   = "name"
    values = ["al2023-ami-2023.*-kernel-6.1-${var.arch}"]
  }

  filter {
    name   = "architecture"
    values = [var.arch]
  }
}

# An instance that powers off is terminated. The provider says this of an instance in a second call, after its
# start; a template says it in the start itself.
resource "aws_launch_template" "orchestrator" {
  name                                 = local.name
  instance_initiated_shutdown_behavior = "terminate"

  lifecycle {
    # Its own tags can come back as such of what it makes.
    ignore_changes = [tag_specifications]
  }
}

resource "aws_instance" "orchestrator" {
  ami                  = data.aws_ami.al2023.id
  instance_type        = local.instance_type
  iam_instance_profile = aws_iam_instance_profile.orchestrator.name

  launch_template {
    id      = aws_launch_template.orchestrator.id
    version = aws_launch_template.orchestrator.latest_version
  }

  # A new version is a new instance: the binary's checksum stands in here. So is a new generation.
  user_data_replace_on_change = true
  user_data_base64 = base64gzip(templatefile("${path.module}/user-data.tftpl", {
    region        = var.region
    bucket        = aws_s3_bucket.orchestrator.id
    prefix        = local.prefix
    binary        = aws_s3_object.binary.key
    binary_sha256 = var.binary_sha256
    bench_version = var.bench_version
    idle_minutes  = var.idle_minutes
    generation    = var.generation
  }))

  # It has no way out until its fixed address is there: its first steps are tried again.
  subnet_id              = aws_subnet.public.id
  vpc_security_group_ids = [aws_security_group.orchestrator.id]

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.root_volume_gib
    encrypted             = true
    delete_on_termination = true
  }

  tags        = { Name = local.name }
  volume_tags = merge(local.tags, { Name = local.name })

  # What it fetches, and the way there, must be there before it.
  depends_on = [
    aws_iam_role_policy.orchestrator,
    aws_route_table_association.public,
    aws_s3_object.secret,
  ]

  lifecycle {
    ignore_changes = [ami, launch_template]
  }

  timeouts {
    create = "10m"
    delete = "15m"
  }
}

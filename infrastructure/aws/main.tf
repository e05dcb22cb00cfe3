# Task runner hosts on Amazon EC2. Each ends itself: an instance that powers off is terminated.

locals {
  name = "bench-${var.run_id}-${var.provider_name}"

  tags = merge(var.tags, {
    bench_managed    = "true"
    bench_owner      = var.owner
    bench_run_id     = var.run_id
    bench_backend    = var.backend
    bench_provider   = var.provider_name
    bench_expires_at = tostring(var.expires_at)
    bench_ssh_user   = "ec2-user"
    bench_ssh_port   = "22"
  })

  by_alias = { for t in var.instance_types : t.alias => t }

  # One entry a host; the key is stable, so that a second apply leaves the hosts that are there alone.
  hosts = merge([
    for alias, t in local.by_alias : {
      for i in range(lookup(var.instance_count, alias, 0)) : "${alias}-${i}" => t
    }
  ]...)

  user_data = {
    for alias, t in local.by_alias : alias => templatefile("${path.module}/user-data.tftpl", {
      orchestrator_url = data.terraform_remote_state.meta.outputs.orchestrator_url
      orchestrator_pin = data.terraform_remote_state.meta.outputs.orchestrator_pin
      run_key          = var.run_key
      run_id           = var.run_id
      provider         = var.provider_name
      backend          = var.backend
      instance_type    = t.instance_type
      alias            = alias
      runners          = var.vcpu_count[alias]
      ttl_minutes      = var.ttl_minutes
      expires_at       = var.expires_at
      image            = var.runner.image
      repo             = var.runner.repo
      ref              = var.runner.ref
      binary_url       = try(var.runner.binaries[t.arch].url, "")
      binary_sha256    = try(var.runner.binaries[t.arch].sha256, "")
      ruby_version     = var.ruby_version
      mock             = var.mock_benchmark
      debug            = var.debug_mode
    })
  }
}

# Amazon Linux 2023 with its default kernel: cloud-init, systemd 252, glibc 2.34.
data "aws_ami" "al2023" {
  for_each = toset(var.instance_types[*].arch)

  most_recent = true
  owners      = ["amazon"]

  filter {
    name   = "name"
    values = ["al2023-ami-2023.*-kernel-6.1-${each.key}"]
  }

  filter {
    name   = "architecture"
    values = [each.key]
  }
}

# Only carries tags: an instance's network interface and spot request take them from here alone.
resource "aws_launch_template" "host" {
  for_each = local.by_alias

  name = "${local.name}-${each.key}"

  dynamic "tag_specifications" {
    for_each = concat(["network-interface"], each.value.spot ? ["spot-instances-request"] : [])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { bench_alias = each.key, Name = "${local.name}-${each.key}" })
    }
  }

  tags = { bench_alias = each.key }

  lifecycle {
    ignore_changes = [tag_specifications]
  }
}

resource "aws_instance" "host" {
  for_each = local.hosts

  ami                                  = data.aws_ami.al2023[each.value.arch].id
  instance_type                        = each.value.instance_type
  subnet_id                            = aws_subnet.public[local.zone_of[each.value.instance_type]].id
  associate_public_ip_address          = true
  vpc_security_group_ids               = [aws_security_group.host.id]
  key_name                             = var.ssh_public_key == "" ? var.ssh_key_name : aws_key_pair.ssh[0].key_name
  instance_initiated_shutdown_behavior = "terminate"
  user_data_base64                     = base64gzip(local.user_data[each.value.alias])

  launch_template {
    id      = aws_launch_template.host[each.value.alias].id
    version = aws_launch_template.host[each.value.alias].latest_version
  }

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

  dynamic "instance_market_options" {
    for_each = each.value.spot ? [each.value] : []

    content {
      market_type = "spot"

      spot_options {
        spot_instance_type             = "one-time"
        instance_interruption_behavior = "terminate"
        max_price                      = try(tostring(instance_market_options.value.max_price_usd_per_h), null)
      }
    }
  }

  tags        = { Name = "${local.name}-${each.key}", bench_alias = each.value.alias }
  volume_tags = merge(local.tags, { Name = "${local.name}-${each.key}", bench_alias = each.value.alias })

  # A host calls out from its first second, so the way out must be there before it.
  depends_on = [aws_route_table_association.public]

  lifecycle {
    # A host that is up is never changed or replaced, whatever the image, the key or the cloud's answers are now.
    ignore_changes = [
      ami,
      instance_market_options,
      launch_template,
      subnet_id,
      user_data_base64,
      vpc_security_group_ids,
    ]
  }

  timeouts {
    create = "10m"
    delete = "15m"
  }
}

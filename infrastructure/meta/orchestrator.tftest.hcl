# What the orchestrator's stack would be, with the cloud mocked. Ids and policies have the form that the provider checks.

mock_provider "aws" {
  mock_data "aws_ami" {
    defaults = { id = "ami-0123456789abcdef0" }
  }

  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { locations = ["us-east-1c", "us-east-1b"] }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = {
      id     = "bench-0123456789"
      bucket = "bench-0123456789"
      arn    = "arn:aws:s3:::bench-0123456789"
    }
  }

  mock_resource "aws_eip" {
    defaults = { public_ip = "192.0.2.1" }
  }

  mock_resource "aws_instance" {
    defaults = { id = "i-0123456789abcdef0" }
  }
}

variables {
  owner            = "0123456789abcdef"
  bench_version    = "0.1.0"
  binary_path      = "bench"
  binary_sha256    = "0000000000000000000000000000000000000000000000000000000000000000"
  admin_key        = "admin-key-of-the-master"
  tls_certificate  = "certificate-in-pem"
  tls_key          = "private-key-in-pem"
  orchestrator_pin = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  tags             = { team = "performance", bench_managed = "false" }
}

run "the_architecture_picks_image_and_size" {
  command = plan

  variables {
    arch = "arm64"
  }

  assert {
    condition = aws_instance.orchestrator.instance_type == "t4g.small" && strcontains(
      join(" ", flatten([for filter in data.aws_ami.al2023.filter : filter.values])), "kernel-6.1-arm64"
    )
    error_message = "A binary for Arm needs an Arm instance and its image."
  }
}

run "a_region_without_the_type_is_named" {
  command = plan

  override_data {
    target = data.aws_ec2_instance_type_offerings.zones
    values = { locations = [] }
  }

  expect_failures = [data.aws_ec2_instance_type_offerings.zones]
}

run "mistakes_are_refused" {
  command = plan

  variables {
    owner         = "somebody else"
    arch          = "riscv64"
    binary_sha256 = "abc"
    idle_minutes  = 0
  }

  expect_failures = [var.owner, var.arch, var.binary_sha256, var.idle_minutes]
}

# Roles and instance profiles: 64 characters. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
run "the_longest_names_fit" {
  command = plan

  variables {
    owner  = "an-owner-whose-name-has-40-characters-xy"
    region = "ap-southeast-1"
  }

  assert {
    condition     = length(aws_iam_role.orchestrator.name) <= 64 && length(aws_launch_template.orchestrator.name) <= 128
    error_message = "A name is longer than AWS takes."
  }
}

# Last, and the only one that is applied: what stands in the state is not changed by other values.
run "stack" {
  assert {
    condition = (
      output.orchestrator_url == "https://192.0.2.1" && output.orchestrator_pin == var.orchestrator_pin &&
      output.api_key == var.admin_key && output.bucket == "bench-0123456789" && output.version == "0.1.0" &&
      output.instance_id == "i-0123456789abcdef0" && output.instance_type == "t3.small" && output.region == "us-east-1"
    )
    error_message = "The outputs tell masters where the orchestrator is and how to trust it."
  }

  # The provider's `default_tags` are these; volumes do not take them from there.
  assert {
    condition = alltrue([
      for tags in [local.tags, aws_instance.orchestrator.volume_tags] :
      tags.bench_managed == "true" && tags.bench_owner == var.owner && tags.bench_run_id == "meta-${var.owner}" &&
      tags.bench_backend == "meta" && tags.bench_provider == "meta" && tags.team == "performance"
    ])
    error_message = "Everything carries our tags; a tag of the user's never hides one."
  }

  assert {
    condition = [
      for rule in aws_security_group.orchestrator.ingress : "${rule.protocol} ${rule.from_port}-${rule.to_port}"
    ] == ["tcp 443-443"]
    error_message = "Only HTTPS is open."
  }

  assert {
    condition = (
      one(aws_instance.orchestrator.metadata_options).http_tokens == "required" &&
      one(aws_instance.orchestrator.metadata_options).http_put_response_hop_limit == 1 &&
      one(aws_instance.orchestrator.root_block_device).encrypted && one(aws_instance.orchestrator.root_block_device).delete_on_termination
    )
    error_message = "The metadata service wants a token (IMDSv2), the disk is encrypted and goes with the instance."
  }

  assert {
    condition     = aws_launch_template.orchestrator.instance_initiated_shutdown_behavior == "terminate"
    error_message = "An idle orchestrator that powers off is terminated."
  }

  assert {
    condition = (
      aws_s3_bucket_public_access_block.orchestrator.block_public_acls && aws_s3_bucket_public_access_block.orchestrator.block_public_policy &&
      aws_s3_bucket_public_access_block.orchestrator.ignore_public_acls && aws_s3_bucket_public_access_block.orchestrator.restrict_public_buckets
    )
    error_message = "Nobody else sees the bucket."
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.orchestrator.rule :
      one(rule.apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    ])
    error_message = "The bucket is encrypted."
  }

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.orchestrator.rule :
      one(rule.filter).prefix == "orchestrator/results/" && one(rule.expiration).days == var.results_days if rule.id == "results"
    ])
    error_message = "Results go after a while."
  }

  # Objects below one prefix of one bucket, and nothing else anywhere.
  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.orchestrator.statement :
      alltrue([for action in statement.actions : startswith(action, "s3:") && !strcontains(action, "*")]) &&
      alltrue([
        for resource in statement.resources : startswith(resource, "arn:aws:s3:::bench-0123456789/orchestrator/") ||
        (resource == "arn:aws:s3:::bench-0123456789" && try(toset(one(statement.condition).values) == toset(["orchestrator/*"]), false))
      ])
    ])
    error_message = "The instance's role can touch one prefix of one bucket."
  }

  assert {
    condition = length([
      for statement in data.aws_iam_policy_document.orchestrator.statement : statement
      if contains(statement.actions, "s3:PutObject") && anytrue([for resource in statement.resources : strcontains(resource, "/boot/") || endswith(resource, "/orchestrator/*")])
    ]) == 0
    error_message = "What the instance boots from is not for it to write."
  }

  assert {
    condition = alltrue([
      for secret in [var.admin_key, var.tls_key] : !strcontains(
        templatefile("user-data.tftpl", {
          region        = var.region, bucket = "b", prefix = local.prefix, binary = "b", binary_sha256 = var.binary_sha256,
          bench_version = var.bench_version, idle_minutes = var.idle_minutes, generation = var.generation
        }), secret
      )
    ]) && { for name, object in aws_s3_object.secret : name => object.content } == { "admin.key" = var.admin_key, "tls.crt" = var.tls_certificate, "tls.key" = var.tls_key }
    error_message = "Secrets lie in the bucket, and not in user-data."
  }
}

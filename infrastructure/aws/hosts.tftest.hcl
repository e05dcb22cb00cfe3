# What a run's hosts would be, with the cloud and the orchestrator's state mocked.

mock_provider "aws" {
  mock_data "aws_ec2_instance_type_offerings" {
    defaults = {
      instance_types = ["c7i.large", "c7g.medium", "c7i.large", "c7i.xlarge", "c7i.xlarge"]
      locations      = ["us-east-1c", "us-east-1b", "us-east-1b", "us-east-1c", "us-east-1a"]
    }
  }

  # The provider checks what this id begins with.
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0" }
  }

  mock_resource "aws_instance" {
    defaults = {
      id         = "i-0123456789abcdef0"
      public_ip  = "192.0.2.10"
      private_ip = "10.0.0.4"
    }
  }
}

override_data {
  target = data.aws_ami.al2023["arm64"]
  values = { id = "ami-0000000000000a64" }
}

override_data {
  target = data.aws_ami.al2023["x86_64"]
  values = { id = "ami-0000000000000864" }
}

override_data {
  target = data.terraform_remote_state.meta
  values = {
    outputs = {
      orchestrator_url = "https://192.0.2.1"
      orchestrator_pin = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
      api_key          = "admin-key-of-the-master"
    }
  }
}

variables {
  run_id        = "20260101-000000-test"
  owner         = "0123456789abcdef"
  provider_name = "aws-east"
  instance_types = [
    { instance_type = "c7g.medium", alias = "c7g", arch = "arm64" },
    { instance_type = "c7i.large", alias = "c7i", arch = "x86_64", spot = true, max_price_usd_per_h = 0.05 },
    { instance_type = "c7i.xlarge", alias = "c7ix", arch = "x86_64", spot = true },
  ]
  vcpu_count      = { c7g = 1, c7i = 2, c7ix = 4 }
  instance_count  = { c7g = 2, c7i = 1, c7ix = 1 }
  run_key         = "rk.key-of-this-run-only"
  ttl_minutes     = 60
  expires_at      = 1800000000
  meta_state_path = "unused"
  runner          = { mode = "image", image = "registry.example.com/bench:1" }
  tags            = { team = "performance", bench_managed = "false" }
}

run "ssh_is_open_to_those_addresses_only" {
  command = plan

  variables {
    ssh_cidr       = "203.0.113.7/32"
    ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me"
  }

  assert {
    condition = [
      for rule in aws_security_group.host.ingress : "${join(",", rule.cidr_blocks)} ${rule.protocol} ${rule.from_port}-${rule.to_port}"
    ] == ["203.0.113.7/32 tcp 22-22"]
    error_message = "Only SSH, and only from where it was asked for."
  }

  assert {
    condition = aws_key_pair.ssh[0].public_key == var.ssh_public_key && alltrue([
      for host in aws_instance.host : host.key_name == aws_key_pair.ssh[0].key_name
    ])
    error_message = "The public key becomes a key pair of the run."
  }
}

run "a_key_pair_and_a_zone_that_are_there_are_used" {
  command = plan

  variables {
    ssh_key_name      = "mine"
    availability_zone = "us-east-1d"
    root_volume_gib   = 64
  }

  assert {
    condition = length(aws_key_pair.ssh) == 0 && alltrue([
      for host in aws_instance.host : host.key_name == "mine" && one(host.root_block_device).volume_size == 64
    ])
    error_message = "Key pair and disk are settings."
  }

  assert {
    condition     = keys(aws_subnet.public) == ["us-east-1d"]
    error_message = "The zone is a setting."
  }
}

run "a_region_without_the_type_is_named" {
  command = plan

  variables {
    instance_types = [{ instance_type = "u-3tb1.56xlarge", alias = "u", arch = "x86_64" }]
    vcpu_count     = { u = 1 }
    instance_count = { u = 1 }
  }

  expect_failures = [aws_subnet.public]
}

run "an_unknown_architecture_is_refused" {
  command = plan

  variables {
    instance_types = [{ instance_type = "c7i.large", alias = "c7i", arch = "riscv64" }]
    vcpu_count     = { c7i = 1 }
    instance_count = { c7i = 1 }
  }

  expect_failures = [var.instance_types]
}

# Security groups and key pairs: 255 characters; launch templates: 128. Values of tags: 256.
run "the_longest_names_fit" {
  command = plan

  variables {
    run_id         = "20260101-000000-a-run-id-of-40-character"
    provider_name  = "a-provider-instance-of-32-chars-"
    instance_types = [{ instance_type = "c7i.large", alias = "an-alias-that-has-32-characters-", arch = "x86_64" }]
    vcpu_count     = { an-alias-that-has-32-characters- = 1 }
    instance_count = { an-alias-that-has-32-characters- = 1 }
  }

  assert {
    condition = (
      length(aws_security_group.host.name) <= 255 &&
      alltrue([for template in aws_launch_template.host : length(template.name) <= 128]) &&
      alltrue([for host in aws_instance.host : length(host.tags.Name) <= 256])
    )
    error_message = "A name is longer than EC2 takes."
  }
}

# Last, and the only one that is applied: what stands in the state is not changed by other values.
run "hosts" {
  assert {
    condition     = join(",", keys(output.task_runner_instances)) == "c7g-0,c7g-1,c7i-0,c7ix-0"
    error_message = "One entry a host, by alias and number."
  }

  assert {
    condition = alltrue([
      for key, host in output.task_runner_instances : host.id == "i-0123456789abcdef0" &&
      host.public_ip == "192.0.2.10" && contains(keys(host), "private_ip") &&
      host.alias == regex("^(.*)-[0-9]+$", key)[0] && startswith(host.instance_type, "c7")
    ])
    error_message = "An entry tells id, addresses, instance type and alias."
  }

  assert {
    condition     = length(output.task_runner_instance_ids) == 4 && output.run_id == var.run_id
    error_message = "The outputs name the run and one id a host."
  }

  # The provider's `default_tags` are these; volumes, network interfaces and spot requests do not take them from there.
  assert {
    condition = alltrue([
      for tags in concat(
        [local.tags],
        [for host in aws_instance.host : host.volume_tags],
        flatten([for template in aws_launch_template.host : template.tag_specifications[*].tags]),
      ) : tags.bench_managed == "true" && tags.bench_owner == var.owner && tags.bench_run_id == var.run_id &&
      tags.bench_backend == "aws" && tags.bench_provider == "aws-east" &&
      tags.bench_expires_at == "1800000000" && tags.bench_ssh_user == "ec2-user" && tags.bench_ssh_port == "22" &&
      tags.team == "performance"
    ])
    error_message = "Everything that can carry tags carries all of them; a tag of the user's never hides one."
  }

  assert {
    condition = alltrue(concat(
      [for key, host in aws_instance.host : host.tags.bench_alias == local.hosts[key].alias],
      [for key, host in aws_instance.host : host.volume_tags.bench_alias == local.hosts[key].alias],
      flatten([for alias, template in aws_launch_template.host : [for s in template.tag_specifications : s.tags.bench_alias == alias]]),
    ))
    error_message = "What belongs to one host carries its alias."
  }

  assert {
    condition = alltrue([
      for alias, template in aws_launch_template.host : toset(template.tag_specifications[*].resource_type) ==
      toset(alias == "c7g" ? ["network-interface"] : ["network-interface", "spot-instances-request"])
    ])
    error_message = "A host's network interface is tagged, and a spot host's request as well."
  }

  assert {
    condition = alltrue([
      for key, host in aws_instance.host : host.ami == (startswith(key, "c7g") ? "ami-0000000000000a64" : "ami-0000000000000864")
    ])
    error_message = "The architecture picks the image."
  }

  assert {
    condition = alltrue([
      for host in aws_instance.host : one(host.metadata_options).http_tokens == "required" &&
      one(host.metadata_options).http_put_response_hop_limit == 1
    ])
    error_message = "The metadata service answers only with a session token, and no container (IMDSv2, one hop)."
  }

  assert {
    condition = alltrue([
      for host in aws_instance.host : one(host.root_block_device).encrypted && one(host.root_block_device).delete_on_termination &&
      one(host.root_block_device).volume_size == var.root_volume_gib
    ])
    error_message = "The disk is encrypted and goes with its host."
  }

  assert {
    condition     = alltrue([for host in aws_instance.host : host.instance_initiated_shutdown_behavior == "terminate"])
    error_message = "A host that powers off is terminated: a stopped one would still be billed for its disk."
  }

  assert {
    condition = (
      length(aws_instance.host["c7g-0"].instance_market_options) == 0 &&
      one(aws_instance.host["c7i-0"].instance_market_options).market_type == "spot" &&
      alltrue([
        for key in ["c7i-0", "c7ix-0"] :
        one(one(aws_instance.host[key].instance_market_options).spot_options).spot_instance_type == "one-time" &&
        one(one(aws_instance.host[key].instance_market_options).spot_options).instance_interruption_behavior == "terminate"
      ]) &&
      one(one(aws_instance.host["c7i-0"].instance_market_options).spot_options).max_price == "0.05"
    )
    error_message = "A spot host is asked for once, is terminated when it is taken away, and pays at most its cap."
  }

  assert {
    condition = alltrue([
      for alias, text in local.user_data :
      strcontains(text, var.run_key) && !strcontains(text, "admin-key-of-the-master") && strcontains(text, "https://192.0.2.1")
    ])
    error_message = "User-data holds the run key, and never the admin key."
  }

  assert {
    condition     = strcontains(local.user_data["c7ix"], "runners='4'") && strcontains(local.user_data["c7g"], "runners='1'")
    error_message = "One task runner per effective vCPU of the alias."
  }

  assert {
    condition     = length(aws_security_group.host.ingress) == 0
    error_message = "Nobody calls in unless SSH was asked for."
  }

  assert {
    condition     = local.zone_of == { "c7g.medium" = "us-east-1b", "c7i.large" = "us-east-1b", "c7i.xlarge" = "us-east-1a" }
    error_message = "A host stands in a zone that offers its type."
  }
}

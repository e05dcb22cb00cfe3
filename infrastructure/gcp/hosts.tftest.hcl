# What a run's hosts would be, with the cloud and the orchestrator's state mocked.

mock_provider "google" {
  mock_data "google_compute_zones" {
    defaults = { names = ["us-central1-c", "us-central1-f"] }
  }

  mock_resource "google_compute_instance" {
    defaults = { instance_id = "5974440820601886829" }
  }
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
  provider_name = "gcp-central"
  instance_types = [
    { instance_type = "c4a-standard-2", alias = "c4a", arch = "arm64" },
    { instance_type = "n2-standard-4", alias = "n2", arch = "x86_64", spot = true },
  ]
  vcpu_count      = { c4a = 2, n2 = 4 }
  instance_count  = { c4a = 2, n2 = 1 }
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
    condition = (
      google_compute_firewall.ssh[0].source_ranges == toset(["203.0.113.7/32"]) &&
      one(google_compute_firewall.ssh[0].allow).ports == tolist(["22"]) && one(google_compute_firewall.ssh[0].allow).protocol == "tcp"
    )
    error_message = "Only SSH, and only from where it was asked for."
  }

  assert {
    condition     = alltrue([for host in google_compute_instance.host : host.metadata["ssh-keys"] == "bench:${var.ssh_public_key}"])
    error_message = "The public key lets its owner in."
  }
}

run "ssh_without_a_key_is_refused" {
  command = plan

  variables {
    ssh_cidr = "203.0.113.7/32"
  }

  expect_failures = [google_compute_instance.host]
}

run "a_price_cap_is_refused" {
  command = plan

  variables {
    instance_types = [{ instance_type = "n2-standard-4", alias = "n2", arch = "x86_64", spot = true, max_price_usd_per_h = 0.05 }]
    vcpu_count     = { n2 = 1 }
    instance_count = { n2 = 1 }
  }

  expect_failures = [google_compute_instance.host]
}

run "an_owner_that_is_no_label_is_refused" {
  command = plan

  variables {
    owner = "Me"
  }

  expect_failures = [var.owner]
}

# https://cloud.google.com/compute/docs/naming-resources: 63 characters
run "the_longest_names_fit" {
  command = plan

  variables {
    run_id         = "20260101-000000-a-run-id-of-40-character"
    provider_name  = "a-provider-instance-of-32-chars-"
    instance_types = [{ instance_type = "n2-standard-4", alias = "an-alias-that-has-32-characters-", arch = "x86_64" }]
    vcpu_count     = { an-alias-that-has-32-characters- = 1 }
    instance_count = { an-alias-that-has-32-characters- = 1 }
    ssh_cidr       = "203.0.113.7/32"
    ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me"
  }

  assert {
    condition = alltrue([
      for name in concat(
        [google_compute_network.run.name, google_compute_subnetwork.hosts.name, google_compute_firewall.ssh[0].name],
        values(google_compute_instance.host)[*].name,
      ) : can(regex("^[a-z]([-a-z0-9]{0,61}[a-z0-9])$", name))
    ])
    error_message = "A name is longer than Compute Engine takes."
  }
}

# Last, and the only one that is applied: what stands in the state is not changed by other values.
run "hosts" {
  assert {
    condition     = join(",", keys(output.task_runner_instances)) == "c4a-0,c4a-1,n2-0"
    error_message = "One entry a host, by alias and number."
  }

  assert {
    condition = alltrue([
      for key, host in output.task_runner_instances : host.id == "5974440820601886829" &&
      host.alias == regex("^(.*)-[0-9]+$", key)[0] && contains(keys(host), "public_ip") && contains(keys(host), "private_ip")
    ])
    error_message = "An entry tells id, addresses, instance type and alias; the id is what the host calls itself."
  }

  assert {
    condition     = length(output.task_runner_instance_ids) == 3 && output.run_id == var.run_id
    error_message = "The outputs name the run and one id a host."
  }

  assert {
    condition = alltrue([
      for labels in concat(
        [for host in google_compute_instance.host : host.labels],
        [for host in google_compute_instance.host : one(one(host.boot_disk).initialize_params).labels],
      ) : labels.bench_managed == "true" && labels.bench_owner == var.owner && labels.bench_run_id == var.run_id &&
      labels.bench_backend == "gcp" && labels.bench_provider == "gcp-central" && contains(["c4a", "n2"], labels.bench_alias) &&
      labels.bench_expires_at == "1800000000" && labels.bench_ssh_user == "bench" && labels.bench_ssh_port == "22" &&
      labels.team == "performance"
    ])
    error_message = "Everything that can carry labels carries all of them; one of the user's never hides one."
  }

  assert {
    condition = alltrue([
      for text in [google_compute_network.run.description, google_compute_subnetwork.hosts.description] :
      strcontains(text, "bench_managed=true;") && strcontains(text, "bench_owner=${var.owner};") && strcontains(text, "bench_run_id=${var.run_id};")
    ])
    error_message = "What carries no labels says in its description whose it is."
  }

  assert {
    condition = alltrue([
      for key, host in google_compute_instance.host :
      endswith(one(one(host.boot_disk).initialize_params).image, startswith(key, "c4a") ? "/ubuntu-2404-lts-arm64" : "/ubuntu-2404-lts-amd64") &&
      one(one(host.boot_disk).initialize_params).type == (startswith(key, "c4a") ? "hyperdisk-balanced" : "pd-balanced") &&
      one(host.boot_disk).auto_delete
    ])
    error_message = "The architecture picks the image, the series the kind of disk; the disk goes with its host."
  }

  assert {
    condition = alltrue([
      for key, host in google_compute_instance.host :
      one(host.scheduling).provisioning_model == (key == "n2-0" ? "SPOT" : "STANDARD") &&
      one(host.scheduling).instance_termination_action == "DELETE" && !one(host.scheduling).automatic_restart &&
      one(one(host.scheduling).max_run_duration).seconds == 75 * 60
    ])
    error_message = "A host that is taken away, or is still up after its deadline, is deleted by the cloud."
  }

  assert {
    condition = alltrue([
      for alias, text in local.user_data :
      strcontains(text, var.run_key) && !strcontains(text, "admin-key-of-the-master") && strcontains(text, "https://192.0.2.1")
    ])
    error_message = "User-data holds the run key, and never the admin key."
  }

  assert {
    condition     = alltrue([for host in google_compute_instance.host : length(host.service_account) == 0])
    error_message = "A host has no rights in the project."
  }

  assert {
    condition     = length(google_compute_firewall.ssh) == 0 && alltrue([for host in google_compute_instance.host : !contains(keys(host.metadata), "ssh-keys")])
    error_message = "Nobody calls in unless SSH was asked for."
  }
}

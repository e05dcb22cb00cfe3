# Task runner hosts on Google Compute Engine. A machine that powers off is no longer billed for processor and memory,
# only for its disk; what is still up at its deadline is deleted by the cloud itself.

locals {
  # Names have up to 63 characters, which run id, provider instance and alias together can exceed: labels tell the rest.
  digest = substr(sha256("${var.run_id}/${var.provider_name}"), 0, 8)
  name   = "bench-${var.run_id}-${local.digest}"

  labels = merge(var.tags, {
    bench_managed    = "true"
    bench_owner      = var.owner
    bench_run_id     = var.run_id
    bench_backend    = var.backend
    bench_provider   = var.provider_name
    bench_expires_at = tostring(var.expires_at)
    bench_ssh_user   = "bench"
    bench_ssh_port   = "22"
  })

  by_alias = { for t in var.instance_types : t.alias => t }

  # One entry a host; the key is stable, so that a second apply leaves the hosts that are there alone.
  hosts = merge([
    for alias, t in local.by_alias : {
      for i in range(lookup(var.instance_count, alias, 0)) : "${alias}-${i}" => t
    }
  ]...)

  # Ubuntu 24.04 LTS: cloud-init, systemd 255, glibc 2.39.
  image = { x86_64 = "ubuntu-2404-lts-amd64", arm64 = "ubuntu-2404-lts-arm64" }

  # These series take no persistent disks: https://cloud.google.com/compute/docs/disks/hyperdisks
  disk_type = {
    for alias, t in local.by_alias : alias => can(regex("^(c4|c4a|c4d|n4|n4a|n4d)-", t.instance_type)) ? "hyperdisk-balanced" : "pd-balanced"
  }

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

resource "google_compute_instance" "host" {
  for_each = local.hosts

  name         = "bench-${local.digest}-${each.key}"
  zone         = local.zone
  machine_type = each.value.instance_type
  labels       = merge(local.labels, { bench_alias = each.value.alias })

  boot_disk {
    auto_delete = true

    initialize_params {
      image  = "projects/ubuntu-os-cloud/global/images/family/${local.image[each.value.arch]}"
      size   = var.boot_disk_gib
      type   = local.disk_type[each.value.alias]
      labels = merge(local.labels, { bench_alias = each.value.alias })
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.hosts.id

    # An address of its own, to call out from.
    access_config {}
  }

  # No service account: the metadata service has no token to give away.
  metadata = merge(
    {
      user-data              = base64gzip(local.user_data[each.value.alias])
      user-data-encoding     = "base64"
      block-project-ssh-keys = "TRUE"
      enable-oslogin         = "FALSE"
    },
    var.ssh_public_key == "" ? {} : { ssh-keys = "bench:${var.ssh_public_key}" },
  )

  scheduling {
    automatic_restart           = false
    preemptible                 = each.value.spot
    provisioning_model          = each.value.spot ? "SPOT" : "STANDARD"
    on_host_maintenance         = each.value.spot ? "TERMINATE" : "MIGRATE"
    instance_termination_action = "DELETE"

    # The cloud's own net below the host's: https://cloud.google.com/compute/docs/instances/limit-vm-runtime
    max_run_duration {
      seconds = (var.ttl_minutes + 15) * 60
    }
  }

  lifecycle {
    # A host that is up is never changed or replaced, whatever the image and the key are now.
    ignore_changes = [boot_disk[0].initialize_params[0].image, metadata, zone]

    precondition {
      condition     = each.value.max_price_usd_per_h == null
      error_message = "Spot machines have no price cap here: leave out max_price_usd_per_h of ${each.value.alias}."
    }

    precondition {
      condition     = var.ssh_cidr == "" || var.ssh_public_key != ""
      error_message = "ssh_cidr opens port 22: give ssh_public_key as well."
    }
  }

  timeouts {
    create = "10m"
    delete = "15m"
  }
}

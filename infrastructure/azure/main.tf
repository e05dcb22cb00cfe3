# Task runner hosts on Azure. A machine that is only halted is still billed: each host deallocates itself,
# through an identity that may switch machines of this resource group, and nothing else anywhere.

locals {
  name = "bench-${var.run_id}-${var.provider_name}"

  tags = merge(var.tags, {
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

  machine = { for key in keys(local.hosts) : key => "bench-${key}" }

  # From version 6 on, sizes know only NVMe disks and accelerated networking, and neither is what Azure assumes:
  # https://learn.microsoft.com/azure/virtual-machines/nvme-overview
  is_recent = { for alias, t in local.by_alias : alias => can(regex("_v([6-9]|[1-9][0-9])$", t.instance_type)) }

  # Ubuntu 24.04 LTS, second generation of virtual hardware: cloud-init, systemd 255, glibc 2.39.
  image_sku = { x86_64 = "server", arm64 = "server-arm64" }

  identity_id = var.identity_id != null ? var.identity_id : azurerm_user_assigned_identity.host[0].id

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

# The right is given before the first machine is made, so that there is never one that cannot end itself,
# even where Terraform dies in between: a right on the machine alone could only come after it. The group holds
# this run's hosts and nothing else.
resource "azurerm_user_assigned_identity" "host" {
  count = var.identity_id == null ? 1 : 0

  name                = "host"
  location            = azurerm_resource_group.run.location
  resource_group_name = azurerm_resource_group.run.name
  tags                = local.tags
}

resource "azurerm_role_assignment" "host" {
  count = var.identity_id == null ? 1 : 0

  scope = azurerm_resource_group.run.id

  # The smallest built-in role with virtualMachines/deallocate/action: it can start and stop machines, not
  # change them, run commands on them or read secrets. A role of our own would need the right to define roles,
  # and would outlive the group. https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/compute
  role_definition_name             = "Desktop Virtualization Power On Off Contributor"
  principal_id                     = azurerm_user_assigned_identity.host[0].principal_id
  principal_type                   = "ServicePrincipal"
  skip_service_principal_aad_check = true
}

resource "azurerm_linux_virtual_machine" "host" {
  for_each = local.hosts

  name                  = local.machine[each.key]
  location              = azurerm_resource_group.run.location
  resource_group_name   = azurerm_resource_group.run.name
  zone                  = var.zone
  size                  = each.value.instance_type
  network_interface_ids = [azurerm_network_interface.host[each.key].id]
  custom_data           = base64gzip(local.user_data[each.value.alias])
  priority              = each.value.spot ? "Spot" : "Regular"
  eviction_policy       = each.value.spot ? "Delete" : null
  disk_controller_type  = local.is_recent[each.value.alias] ? "NVMe" : null
  max_bid_price         = each.value.spot ? coalesce(each.value.max_price_usd_per_h, -1) : null
  tags                  = merge(local.tags, { bench_alias = each.value.alias })

  # Azure demands one of the two. Without a public key nobody can connect, and the password is known to nobody.
  admin_username                  = "bench"
  disable_password_authentication = var.ssh_public_key != ""
  admin_password                  = var.ssh_public_key == "" ? "Aa1-${substr(sha256("${var.run_key}/${each.key}"), 0, 48)}" : null

  dynamic "admin_ssh_key" {
    for_each = var.ssh_public_key == "" ? [] : [var.ssh_public_key]

    content {
      username   = "bench"
      public_key = admin_ssh_key.value
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [local.identity_id]
  }

  source_image_reference {
    publisher = "Canonical"
    offer     = "ubuntu-24_04-lts"
    sku       = local.image_sku[each.value.arch]
    version   = "latest"
  }

  # Managed disks are encrypted by the platform: https://learn.microsoft.com/azure/virtual-machines/disk-encryption
  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "StandardSSD_LRS"
    disk_size_gb         = var.os_disk_gib
  }

  # The console's output, kept by Azure: what is left to read when a boot fails.
  boot_diagnostics {}

  depends_on = [azurerm_role_assignment.host]

  lifecycle {
    # A host that is up is never replaced because of a renewed key.
    ignore_changes = [custom_data, admin_password]

    precondition {
      condition     = var.ssh_cidr == "" || var.ssh_public_key != ""
      error_message = "ssh_cidr opens port 22: give ssh_public_key as well."
    }
  }

  timeouts {
    create = "15m"
    delete = "15m"
  }
}

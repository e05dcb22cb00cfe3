# What a run's hosts would be, with the cloud and the orchestrator's state mocked. Ids have Azure's form, since
# the provider checks them.

mock_provider "azurerm" {
  mock_resource "azurerm_resource_group" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench" }
  }

  mock_resource "azurerm_virtual_network" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Network/virtualNetworks/network" }
  }

  mock_resource "azurerm_subnet" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Network/virtualNetworks/network/subnets/hosts" }
  }

  mock_resource "azurerm_network_security_group" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Network/networkSecurityGroups/hosts" }
  }

  mock_resource "azurerm_public_ip" {
    defaults = {
      id         = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Network/publicIPAddresses/ip"
      ip_address = "192.0.2.10"
    }
  }

  mock_resource "azurerm_network_interface" {
    defaults = {
      id                 = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Network/networkInterfaces/nic"
      private_ip_address = "10.0.0.4"
    }
  }

  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.ManagedIdentity/userAssignedIdentities/host"
      principal_id = "11111111-1111-1111-1111-111111111111"
    }
  }

  mock_resource "azurerm_linux_virtual_machine" {
    defaults = {
      id                 = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Compute/virtualMachines/host"
      virtual_machine_id = "22222222-2222-2222-2222-222222222222"
    }
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
  provider_name = "azure-west"
  instance_types = [
    { instance_type = "Standard_D2ps_v6", alias = "d2ps", arch = "arm64" },
    { instance_type = "Standard_D2s_v5", alias = "d2s", arch = "x86_64", spot = true, max_price_usd_per_h = 0.05 },
    { instance_type = "Standard_D4s_v5", alias = "d4s", arch = "x86_64", spot = true },
  ]
  vcpu_count      = { d2ps = 2, d2s = 2, d4s = 4 }
  instance_count  = { d2ps = 2, d2s = 1, d4s = 1 }
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
      for rule in azurerm_network_security_group.hosts.security_rule :
      "${rule.source_address_prefix} ${rule.protocol} ${rule.destination_port_range}" if rule.access == "Allow"
    ] == ["203.0.113.7/32 Tcp 22"]
    error_message = "Only SSH, and only from where it was asked for."
  }

  assert {
    condition = alltrue([
      for host in azurerm_linux_virtual_machine.host : host.disable_password_authentication &&
      host.admin_password == null && one(host.admin_ssh_key).public_key == var.ssh_public_key
    ])
    error_message = "With a public key there is no password."
  }
}

run "ssh_without_a_key_is_refused" {
  command = plan

  variables {
    ssh_cidr = "203.0.113.7/32"
  }

  expect_failures = [azurerm_linux_virtual_machine.host]
}

run "an_identity_that_is_there_is_used" {
  command = plan

  variables {
    identity_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/shared/providers/Microsoft.ManagedIdentity/userAssignedIdentities/switch"
    zone        = "2"
    os_disk_gib = 64
  }

  assert {
    condition = (
      length(azurerm_user_assigned_identity.host) == 0 && length(azurerm_role_assignment.host) == 0 && alltrue([
        for host in azurerm_linux_virtual_machine.host : one(host.identity).identity_ids == toset([var.identity_id])
      ])
    )
    error_message = "Whoever may not assign roles names an identity; nothing is made or assigned then."
  }

  assert {
    condition = (
      alltrue([for host in azurerm_linux_virtual_machine.host : host.zone == "2" && one(host.os_disk).disk_size_gb == 64]) &&
      alltrue([for ip in azurerm_public_ip.host : ip.zones == toset(["2"])])
    )
    error_message = "Zone and disk are settings; a machine and its address stand in the same zone."
  }
}

# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
run "the_longest_names_fit" {
  command = plan

  variables {
    run_id         = "20260101-000000-a-run-id-of-40-character"
    provider_name  = "a-provider-instance-of-32-chars-"
    instance_types = [{ instance_type = "Standard_D2s_v5", alias = "an-alias-that-has-32-characters-", arch = "x86_64" }]
    vcpu_count     = { an-alias-that-has-32-characters- = 1 }
    instance_count = { an-alias-that-has-32-characters- = 1 }
  }

  assert {
    condition = (
      length(azurerm_resource_group.run.name) <= 90 &&
      alltrue([for host in azurerm_linux_virtual_machine.host : length(host.name) <= 64 && !endswith(host.name, "-")]) &&
      alltrue([for nic in azurerm_network_interface.host : length(nic.name) <= 80]) &&
      alltrue([for ip in azurerm_public_ip.host : length(ip.name) <= 80])
    )
    error_message = "A name is longer than Azure takes."
  }
}

run "an_unknown_architecture_is_refused" {
  command = plan

  variables {
    instance_types = [{ instance_type = "Standard_D2s_v5", alias = "d2s", arch = "riscv64" }]
    vcpu_count     = { d2s = 1 }
    instance_count = { d2s = 1 }
  }

  expect_failures = [var.instance_types]
}

# Last, and the only one that is applied: what stands in the state is not changed by other values.
run "hosts" {
  assert {
    condition     = join(",", keys(output.task_runner_instances)) == "d2ps-0,d2ps-1,d2s-0,d4s-0"
    error_message = "One entry a host, by alias and number."
  }

  assert {
    condition = alltrue([
      for key, host in output.task_runner_instances : host.id == "22222222-2222-2222-2222-222222222222" &&
      host.public_ip == "192.0.2.10" && host.private_ip == "10.0.0.4" &&
      host.alias == regex("^(.*)-[0-9]+$", key)[0] && startswith(host.instance_type, "Standard_D")
    ])
    error_message = "An entry tells id, addresses, instance type and alias; the id is what the host calls itself."
  }

  assert {
    condition     = length(output.task_runner_instance_ids) == 4 && output.run_id == var.run_id
    error_message = "The outputs name the run and one id a host."
  }

  assert {
    condition = alltrue([
      for tags in concat(
        [
          azurerm_resource_group.run.tags, azurerm_virtual_network.run.tags,
          azurerm_network_security_group.hosts.tags, azurerm_user_assigned_identity.host[0].tags,
        ],
        [for host in azurerm_linux_virtual_machine.host : host.tags],
        [for nic in azurerm_network_interface.host : nic.tags],
        [for ip in azurerm_public_ip.host : ip.tags],
      ) : tags.bench_managed == "true" && tags.bench_owner == var.owner && tags.bench_run_id == var.run_id &&
      tags.bench_backend == "azure" && tags.bench_provider == "azure-west" &&
      tags.bench_expires_at == "1800000000" && tags.bench_ssh_user == "bench" && tags.bench_ssh_port == "22" &&
      tags.team == "performance"
    ])
    error_message = "Everything that can carry tags carries all of them; a tag of the user's never hides one."
  }

  assert {
    condition = alltrue(concat(
      [for key, host in azurerm_linux_virtual_machine.host : host.tags.bench_alias == local.hosts[key].alias],
      [for key, nic in azurerm_network_interface.host : nic.tags.bench_alias == local.hosts[key].alias],
      [for key, ip in azurerm_public_ip.host : ip.tags.bench_alias == local.hosts[key].alias],
    ))
    error_message = "What belongs to one host carries its alias."
  }

  assert {
    condition = alltrue([
      for key, host in azurerm_linux_virtual_machine.host : one(host.source_image_reference).sku ==
      (startswith(key, "d2ps") ? "server-arm64" : "server")
    ])
    error_message = "The architecture picks the image."
  }

  assert {
    condition = alltrue([
      for key, host in azurerm_linux_virtual_machine.host :
      (host.disk_controller_type == "NVMe") == startswith(key, "d2ps") &&
      azurerm_network_interface.host[key].accelerated_networking_enabled == startswith(key, "d2ps")
    ])
    error_message = "Sizes of version 6 take NVMe disks and accelerated networking only, and must be told so."
  }

  assert {
    condition = (
      azurerm_linux_virtual_machine.host["d2ps-0"].priority == "Regular" &&
      azurerm_linux_virtual_machine.host["d2s-0"].priority == "Spot" &&
      azurerm_linux_virtual_machine.host["d2s-0"].eviction_policy == "Delete" &&
      azurerm_linux_virtual_machine.host["d2s-0"].max_bid_price == 0.05 &&
      azurerm_linux_virtual_machine.host["d4s-0"].eviction_policy == "Delete" &&
      azurerm_linux_virtual_machine.host["d4s-0"].max_bid_price == -1
    )
    error_message = "A spot machine is deleted when it is taken away and pays at most its cap; without one, what a regular one costs."
  }

  assert {
    condition = (
      azurerm_role_assignment.host[0].scope == azurerm_resource_group.run.id &&
      azurerm_role_assignment.host[0].principal_id == azurerm_user_assigned_identity.host[0].principal_id &&
      azurerm_role_assignment.host[0].role_definition_name == "Desktop Virtualization Power On Off Contributor" &&
      alltrue([
        for host in azurerm_linux_virtual_machine.host :
        one(host.identity).type == "UserAssigned" &&
        toset(one(host.identity).identity_ids) == toset([azurerm_user_assigned_identity.host[0].id])
      ])
    )
    error_message = "A host can deallocate machines of its own group, and do nothing else anywhere."
  }

  assert {
    condition = alltrue([
      for alias, text in local.user_data :
      strcontains(text, "management.azure.com$vm/deallocate") && strcontains(text, var.run_key) &&
      !strcontains(text, "admin-key-of-the-master") && strcontains(text, "https://192.0.2.1")
    ])
    error_message = "User-data ends the host's billing, holds the run key, and never the admin key."
  }

  assert {
    condition     = strcontains(local.user_data["d4s"], "runners='4'") && strcontains(local.user_data["d2s"], "runners='2'")
    error_message = "One task runner per effective vCPU of the alias."
  }

  assert {
    condition = (
      length(azurerm_network_security_group.hosts.security_rule) == 1 &&
      one(azurerm_network_security_group.hosts.security_rule).access == "Deny" &&
      one(azurerm_network_security_group.hosts.security_rule).direction == "Inbound" &&
      one(azurerm_network_security_group.hosts.security_rule).destination_port_range == "*"
    )
    error_message = "Nobody calls in unless SSH was asked for, not even a neighbour."
  }

  assert {
    condition = alltrue([
      for host in azurerm_linux_virtual_machine.host : length(host.admin_ssh_key) == 0 && length(host.admin_password) >= 12 &&
      length(host.admin_password) <= 72
    ])
    error_message = "Without a public key the password Azure demands is long, and nobody knows it."
  }
}

output "run_id" {
  description = "The run that the hosts belong to."
  value       = var.run_id
}

# The id is what the host calls itself (its metadata service's vmId); Azure's commands take resource_id.
output "task_runner_instances" {
  description = "The hosts, by alias and number."
  value = {
    for key, host in azurerm_linux_virtual_machine.host : key => {
      id            = host.virtual_machine_id
      resource_id   = host.id
      public_ip     = azurerm_public_ip.host[key].ip_address
      private_ip    = azurerm_network_interface.host[key].private_ip_address
      instance_type = host.size
      alias         = local.hosts[key].alias
    }
  }
}

output "task_runner_instance_ids" {
  description = "Ids of the hosts."
  value       = values(azurerm_linux_virtual_machine.host)[*].virtual_machine_id
}

output "run_id" {
  description = "The run that the hosts belong to."
  value       = var.run_id
}

# The id is what the host calls itself (its metadata service's instance/id); Google's commands take name and zone.
output "task_runner_instances" {
  description = "The hosts, by alias and number."
  value = {
    for key, host in google_compute_instance.host : key => {
      id            = host.instance_id
      name          = host.name
      zone          = host.zone
      public_ip     = try(host.network_interface[0].access_config[0].nat_ip, null)
      private_ip    = host.network_interface[0].network_ip
      instance_type = host.machine_type
      alias         = local.hosts[key].alias
    }
  }
}

output "task_runner_instance_ids" {
  description = "Ids of the hosts."
  value       = values(google_compute_instance.host)[*].instance_id
}

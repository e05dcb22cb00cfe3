output "run_id" {
  description = "The run that the hosts belong to."
  value       = var.run_id
}

output "task_runner_instances" {
  description = "The hosts, by alias and number."
  value = {
    for key, host in aws_instance.host : key => {
      id            = host.id
      public_ip     = host.public_ip
      private_ip    = host.private_ip
      instance_type = host.instance_type
      alias         = local.hosts[key].alias
    }
  }
}

output "task_runner_instance_ids" {
  description = "Ids of the hosts."
  value       = values(aws_instance.host)[*].id
}

output "orchestrator_url" {
  description = "Where masters and task runners reach the orchestrator."
  value       = "https://${aws_eip.orchestrator.public_ip}"
}

output "orchestrator_pin" {
  description = "The public key that they trust, as `curl --pinnedpubkey` takes it."
  value       = var.orchestrator_pin
}

output "api_key" {
  description = "Key of the masters; hosts never get it."
  value       = var.admin_key
  sensitive   = true
}

output "bucket" {
  description = "Holds results."
  value       = aws_s3_bucket.orchestrator.id
}

output "version" {
  description = "Version of the orchestrator."
  value       = var.bench_version
}

output "instance_id" {
  description = "The orchestrator's instance."
  value       = aws_instance.orchestrator.id
}

output "instance_type" {
  description = "What is billed by the hour."
  value       = aws_instance.orchestrator.instance_type
}

output "region" {
  description = "Where it is."
  value       = var.region
}

output "boot_log" {
  description = "Where the instance leaves the log of its boot."
  value       = "s3://${aws_s3_bucket.orchestrator.id}/${local.prefix}/log/boot.txt"
}

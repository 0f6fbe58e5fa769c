# What `churnlab cloud init` writes into the profile. What is switched off is "".

output "project_id" {
  description = "The project."
  value       = var.project_id
}

output "region" {
  description = "The region of everything."
  value       = var.region
}

output "zone" {
  description = "The zone of machines."
  value       = var.zone
}

output "lake_uri" {
  description = "The lake: what the steps take as --lake."
  value       = local.lake_uri
}

output "code_uri" {
  description = "The folder of the scripts: --code."
  value       = local.code_uri
}

output "pipeline_root" {
  description = "The folder of the artifacts of pipeline runs."
  value       = local.pipeline_root
}

output "template_uri" {
  description = "The compiled training pipeline."
  value       = local.template_uri
}

output "staging_bucket" {
  description = "The bucket, by its name, where batches and sessions keep their output for two weeks."
  value       = google_storage_bucket.buckets["staging"].name
}

output "dataset" {
  description = "The tables: what the steps take as --dataset."
  value       = local.dataset
}

output "dataset_id" {
  description = "The dataset's id within the project."
  value       = google_bigquery_dataset.churn.dataset_id
}

output "network" {
  description = "The network's name."
  value       = google_compute_network.course.name
}

output "subnetwork" {
  description = "The subnet of batches and sessions: --subnetwork."
  value       = google_compute_subnetwork.spark.id
}

output "service_accounts" {
  description = "The e-mail address of each role's account."
  value       = { for role, account in google_service_account.accounts : role => account.email }
}

output "session_template" {
  description = "The template of the Spark kernel, by its full name."
  value       = google_dataproc_session_template.notebooks.name
}

output "history_server" {
  description = "The history server's cluster, by its full name."
  value       = join("", google_dataproc_cluster.history[*].id)
}

output "artifact_registry" {
  description = "Where images lie: host/project/repository."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "batch_image" {
  description = "The image of the batches; \"\" is Google's own."
  value       = var.batch_image
}

output "serving_image" {
  description = "The image of the server; \"\" if none is named."
  value       = var.serving_image
}

output "serving_url" {
  description = "The server's address on Cloud Run."
  value       = join("", google_cloud_run_v2_service.champion[*].uri)
}

output "serving_endpoint" {
  description = "The endpoint of Vertex AI, by its full name."
  value       = join("", google_vertex_ai_endpoint.champion[*].id)
}

output "serving_machine" {
  description = "The machine of a model that is deployed to the endpoint."
  value       = local.serving_on_endpoint ? var.serving_machine_type : ""
}

output "workbench_instance" {
  description = "The machine of JupyterLab."
  value       = join("", google_workbench_instance.notebooks[*].name)
}

output "workbench_url" {
  description = "JupyterLab's address."
  value       = join("", [for uri in google_workbench_instance.notebooks[*].proxy_uri : "https://${uri}"])
}

output "function_name" {
  description = "The function that starts the training pipeline."
  value       = google_cloudfunctions2_function.training.name
}

output "function_url" {
  description = "The function's address."
  value       = google_cloudfunctions2_function.training.service_config[0].uri
}

output "scheduler_job" {
  description = "The schedule's job."
  value       = join("", google_cloud_scheduler_job.training[*].name)
}

output "composer_environment" {
  description = "The Airflow environment."
  value       = join("", google_composer_environment.airflow[*].name)
}

output "kms_key" {
  description = "The key that everything is encrypted with; \"\" is Google's."
  value       = var.kms_key
}

output "labels" {
  description = "The labels of everything, for what is started later to have them as well."
  value       = local.labels
}

output "apis" {
  description = "The services that were switched on."
  value       = sort(local.apis)
}

output "toggles" {
  description = "What was asked for."
  value = {
    create_workbench      = var.create_workbench
    create_schedule       = var.create_schedule
    create_composer       = var.create_composer
    create_history_server = var.create_history_server
    create_metastore      = var.create_metastore
    create_nat            = var.create_nat
    create_budget         = var.create_budget
  }
}

# With your own key, the services that keep data need the right to use it. Nothing here without kms_key.
locals {
  # The agents of the services that are in use, by the service that owns them. Each has the role SERVICE.serviceAgent:
  # https://docs.cloud.google.com/iam/docs/service-agents (accessed 2026-11-25)
  agent_domains = merge(
    {
      "aiplatform.googleapis.com"       = "gcp-sa-aiplatform"
      "artifactregistry.googleapis.com" = "gcp-sa-artifactregistry"
      "cloudfunctions.googleapis.com"   = "gcf-admin-robot"
      "compute.googleapis.com"          = "compute-system"
      "dataproc.googleapis.com"         = "dataproc-accounts"
      "run.googleapis.com"              = "serverless-robot-prod"
    },
    var.create_workbench ? { "notebooks.googleapis.com" = "gcp-sa-notebooks" } : {},
    var.create_metastore ? { "metastore.googleapis.com" = "gcp-sa-metastore" } : {},
    var.create_composer ? { "composer.googleapis.com" = "cloudcomposer-accounts" } : {},
  )
  agents = var.kms_key == "" ? {} : { for service, domain in local.agent_domains : service => join("", [
    "serviceAccount:service-", data.google_project.course[0].number, "@${domain}.iam.gserviceaccount.com",
  ]) }
  agent_members = var.kms_key == "" ? {} : merge(
    {
      "storage.googleapis.com"  = data.google_storage_project_service_account.agent[0].member
      "bigquery.googleapis.com" = data.google_bigquery_default_service_account.agent[0].member
    },
    local.agents,
  )
}

# Read while planning, which a new project allows: it has these three APIs from the beginning, or by the
# first step of provisioning. Waiting for google_project_service.apis instead would make every grant
# below a new one whenever another API is switched on.
data "google_project" "course" {
  count = var.kms_key != "" || var.create_budget ? 1 : 0

  project_id = var.project_id
}

data "google_storage_project_service_account" "agent" {
  count = var.kms_key == "" ? 0 : 1

  project = var.project_id
}

data "google_bigquery_default_service_account" "agent" {
  count = var.kms_key == "" ? 0 : 1

  project = var.project_id
}

# An agent is there after its service was first used, which is too late to be given a key.
resource "google_workload_identity_service_agent" "agents" {
  for_each = local.agents

  parent = "projects/${data.google_project.course[0].number}/locations/global/serviceProducers/${each.key}"

  depends_on = [google_project_service.apis]
}

# Google gives an agent its role when it makes it by itself. One that somebody asks for has none until it is
# given: https://docs.cloud.google.com/iam/docs/create-service-agents (accessed 2026-11-25)
resource "google_project_iam_member" "agents" {
  for_each = local.agents

  project = var.project_id
  role    = "roles/${split(".", each.key)[0]}.serviceAgent"
  member  = each.value

  depends_on = [google_workload_identity_service_agent.agents]
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = local.agent_members

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value

  # So whoever waits for the right to the key has waited for the agent's role as well.
  depends_on = [google_workload_identity_service_agent.agents, google_project_iam_member.agents]
}

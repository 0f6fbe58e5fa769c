variable "project_id" {
  description = "The project that everything is made in, by its id. Best one for the course alone."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is the id, not the name or the number: 6 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "region" {
  description = "The region of everything, data included."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must look like us-central1 or europe-west4."
  }
}

variable "zone" {
  description = "The zone of the machines of Workbench and of the history server; in the region."
  type        = string
  default     = "us-central1-a"

  validation {
    condition     = can(regex("^${var.region}-[a-z]$", var.zone))
    error_message = "zone must be one of the region, such as ${var.region}-b. `gcloud compute zones list` names them."
  }
}

variable "prefix" {
  description = "What every name begins with."
  type        = string
  default     = "churnlab"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must have 3 to 15 lower-case letters, digits and hyphens, a letter first and no hyphen last."
  }
}

variable "labels" {
  description = "Further labels of everything, such as { team = \"data\" }; they are on the bill."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for name, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", name)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "labels must have names and values of at most 63 lower-case letters, digits, _ and -; a name begins with a letter."
  }
}

variable "author" {
  description = "Who works with it: user:ada@example.com. \"\" grants nobody anything, which is fine for the project's owner."
  type        = string
  default     = ""
  nullable    = false

  # No groups: who opens JupyterLab has to be named.
  # https://docs.cloud.google.com/gemini-enterprise-agent-platform/notebooks/workbench/instances/manage-access-jupyterlab
  validation {
    condition     = var.author == "" || can(regex("^(user|serviceAccount):[^@\\s:]+@[^@\\s:]+\\.[a-z]+$", var.author))
    error_message = "author must be user: and an e-mail address, such as user:ada@example.com."
  }
}

# What is made

variable "create_workbench" {
  description = "A machine with JupyterLab. It bills while it runs, its disks also while it is shut down."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_schedule" {
  description = "The schedule of the training pipeline. Each tick is a run that is paid for."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_composer" {
  description = "Airflow on Cloud Composer 3. It bills all day, whether a DAG runs or not."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_history_server" {
  description = "A machine with Spark's history of ended sessions, and of batches by `churnlab cloud submit`. It bills all day."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_metastore" {
  description = "A Dataproc Metastore for sessions. It bills all day, and the course does without."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_nat" {
  description = "A way to the internet for batches and Workbench: for pip, and for notebooks from Git. It bills all day."
  type        = bool
  default     = false
  nullable    = false
}

variable "create_budget" {
  description = "A budget of the project that writes e-mails. It needs the right to manage budgets of the billing account."
  type        = bool
  default     = false
  nullable    = false
}

# How it is made

variable "workbench_machine_type" {
  description = "The machine of JupyterLab; Spark runs elsewhere."
  type        = string
  default     = "e2-standard-4"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*-[a-z0-9-]+$", var.workbench_machine_type))
    error_message = "workbench_machine_type must look like e2-standard-4."
  }
}

variable "idle_minutes" {
  description = "After how many idle minutes Workbench shuts down and a session of its Spark kernel ends."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.idle_minutes == floor(var.idle_minutes) && var.idle_minutes >= 10 && var.idle_minutes <= 1440
    error_message = "idle_minutes must be a whole number from 10 to 1440."
  }
}

variable "notebooks_repository" {
  description = "A Git repository that Workbench clones the notebooks from, by https; \"\" takes this checkout's from the bucket."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.notebooks_repository == "" || can(regex("^https://[A-Za-z0-9._~/-]+$", var.notebooks_repository))
    error_message = "notebooks_repository must be an https:// address without a user or a token in it."
  }

  validation {
    condition     = var.notebooks_repository == "" || var.create_nat
    error_message = "notebooks_repository is on the internet, and Workbench has no public address: set create_nat = true, or leave it \"\"."
  }
}

variable "schedule" {
  description = "When the training pipeline starts: minute, hour, day, month, weekday."
  type        = string
  default     = "0 6 * * 1"
  nullable    = false

  validation {
    condition = length(split(" ", var.schedule)) == 5 && alltrue([
      for place, number in [
        "(?:[0-5]?[0-9])",
        "(?:1?[0-9]|2[0-3])",
        "(?:0?[1-9]|[12][0-9]|3[01])",
        "(?i:0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
        "(?i:[0-7]|sun|mon|tue|wed|thu|fri|sat)",
        ] : can(regex(
          replace("^I(?:,I)*$", "I", "(?:\\*|${number}(?:-${number})?)(?:/[1-9][0-9]*)?"),
          split(" ", var.schedule)[place],
      ))
    ])
    error_message = "schedule must have five fields of unix-cron, one space between them, such as 0 6 * * 1 for Mondays at six."
  }
}

variable "time_zone" {
  description = "The time zone of the schedule, by its name in the tz database."
  type        = string
  default     = "Etc/UTC"
  nullable    = false

  validation {
    condition     = var.time_zone == "UTC" || can(regex("^[A-Z][A-Za-z]+(/[A-Z][A-Za-z0-9_+-]+){1,2}$", var.time_zone))
    error_message = "time_zone must be a name such as Etc/UTC or Europe/Berlin."
  }
}

variable "function_archive" {
  description = "The pipeline function's zip, as `churnlab cloud package` makes it; a relative path begins at infra/."
  type        = string
  default     = "../_build/cloud/pipeline_function.zip"
  nullable    = false

  validation {
    condition     = endswith(var.function_archive, ".zip")
    error_message = "function_archive must be a .zip file."
  }
}

variable "function_ingress" {
  description = "From where the function may be called, by those who may: ALLOW_INTERNAL_ONLY (the schedule, this network) or ALLOW_ALL (your laptop and the scoring DAG as well)."
  type        = string
  default     = "ALLOW_INTERNAL_ONLY"
  nullable    = false

  validation {
    condition     = contains(["ALLOW_INTERNAL_ONLY", "ALLOW_ALL"], var.function_ingress)
    error_message = "function_ingress must be ALLOW_INTERNAL_ONLY or ALLOW_ALL."
  }
}

variable "alarm_email" {
  description = "Who is written to when monitoring raises an alarm; \"\": nobody, and nothing is made for it."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.alarm_email == "" || can(regex("^[^@\\s:]+@[^@\\s:]+\\.[a-z]+$", var.alarm_email))
    error_message = "alarm_email must be an e-mail address."
  }
}

variable "batch_image" {
  description = "An image for the batches that pipeline runs and the DAG start, in Artifact Registry, with its tag or digest; \"\" is Google's own."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.batch_image == "" || can(regex("^[a-z0-9-]+-docker\\.pkg\\.dev/[a-z0-9:.-]+/[a-z0-9-]+/[a-z0-9/_.-]+(:[A-Za-z0-9_.-]+|@sha256:[0-9a-f]{64})$", var.batch_image))
    error_message = "batch_image must be REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG, or end in @sha256: and the digest."
  }
}

# Online serving

variable "serving" {
  description = "Where the packaged champion answers: none, cloud-run, or endpoint (of Vertex AI, which bills a machine all day once a model is deployed)."
  type        = string
  default     = "none"
  nullable    = false

  validation {
    condition     = contains(["none", "cloud-run", "endpoint"], var.serving)
    error_message = "serving must be none, cloud-run or endpoint."
  }

  validation {
    condition     = var.serving == "none" || var.serving_image != ""
    error_message = "serving needs a serving_image: Cloud Build makes it, as the book's page on images says."
  }
}

variable "serving_image" {
  description = "The server's image in Artifact Registry, with its tag or digest."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.serving_image == "" || can(regex("^[a-z0-9-]+-docker\\.pkg\\.dev/[a-z0-9:.-]+/[a-z0-9-]+/[a-z0-9/_.-]+(:[A-Za-z0-9_.-]+|@sha256:[0-9a-f]{64})$", var.serving_image))
    error_message = "serving_image must be REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG, or end in @sha256: and the digest."
  }
}

variable "serving_min_instances" {
  description = "How many instances on Cloud Run wait for a first request. 0: none, and the first one waits for the start; above, they bill all day."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.serving_min_instances == floor(var.serving_min_instances) && var.serving_min_instances >= 0 && var.serving_min_instances <= 2
    error_message = "serving_min_instances must be 0, 1 or 2."
  }

  validation {
    condition     = var.serving_min_instances == 0 || var.serving == "cloud-run"
    error_message = "serving_min_instances is for serving = \"cloud-run\": an endpoint always has one machine."
  }
}

variable "serving_machine_type" {
  description = "The one machine of a model that is deployed to the endpoint. It bills all day."
  type        = string
  default     = "e2-standard-2"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*-[a-z0-9-]+$", var.serving_machine_type))
    error_message = "serving_machine_type must look like e2-standard-2."
  }
}

# Network, keys, deletion

variable "subnet_cidr" {
  description = "The addresses of the subnet; every machine of a batch takes one."
  type        = string
  default     = "10.20.0.0/20"
  nullable    = false

  validation {
    condition     = try(cidrhost(var.subnet_cidr, 0), "") == split("/", var.subnet_cidr)[0]
    error_message = "subnet_cidr must be a range of addresses from its first, such as 10.20.0.0/20."
  }

  validation {
    condition     = can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.subnet_cidr))
    error_message = "subnet_cidr must be private: in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
  }

  validation {
    condition     = try(tonumber(split("/", var.subnet_cidr)[1]) <= 24 && tonumber(split("/", var.subnet_cidr)[1]) >= 12, false)
    error_message = "subnet_cidr must be a /12 to a /24: below 256 addresses, two batches get in each other's way."
  }
}

variable "restricted_apis" {
  description = "Reach Google's APIs by restricted.googleapis.com only, as a VPC Service Controls perimeter asks for."
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key" {
  description = "A key of yours in Cloud KMS, in the region, for all data at rest; \"\" leaves it to Google."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.kms_key == "" || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+$", var.kms_key))
    error_message = "kms_key must be projects/PROJECT/locations/${var.region}/keyRings/RING/cryptoKeys/KEY: a key of the same region, without a version."
  }
}

variable "allow_data_deletion" {
  description = "Let `terraform destroy` delete buckets and tables with what is in them. Set it just before you do."
  type        = bool
  default     = false
  nullable    = false
}

variable "billing_account" {
  description = "The billing account of the budget, such as 012345-6789AB-CDEF01; `gcloud billing projects describe PROJECT` names it."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account must be three groups of six digits and letters A to F, such as 012345-6789AB-CDEF01."
  }

  validation {
    condition     = !var.create_budget || var.billing_account != ""
    error_message = "create_budget needs a billing_account."
  }
}

variable "budget_amount" {
  description = "What a month may cost before e-mails are written, in whole units of the billing account's currency."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.budget_amount == floor(var.budget_amount) && var.budget_amount >= 1
    error_message = "budget_amount must be a whole number, 1 or more."
  }
}

variable "budget_email" {
  description = "Who gets the budget's e-mails; \"\": the administrators of the billing account."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.budget_email == "" || can(regex("^[^@\\s:]+@[^@\\s:]+\\.[a-z]+$", var.budget_email))
    error_message = "budget_email must be an e-mail address."
  }
}

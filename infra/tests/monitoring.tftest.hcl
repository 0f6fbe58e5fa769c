# Alarms: without an address there is nothing, with one there is a mail for each kind, and the DAG may retrain.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "time" {
  override_during = plan
}

variables {
  project_id       = "mock-project"
  function_archive = "tests/fixtures/pipeline_function.zip"
}

run "without_an_address_nothing_watches_the_log" {
  command = plan

  assert {
    condition = (
      length(google_logging_metric.alarms) == 0 &&
      length(google_monitoring_notification_channel.alarms) == 0 &&
      length(google_monitoring_alert_policy.alarms) == 0 &&
      !contains(output.apis, "monitoring.googleapis.com")
    )
    error_message = "Something is made for alarms that nobody gets."
  }

  assert {
    condition     = !contains(keys(google_cloud_run_v2_service_iam_member.invokers), "dag")
    error_message = "The DAG may call the function, and there is no DAG."
  }
}

run "an_address_is_written_to_when_the_monitoring_batch_says_so" {
  command = plan

  variables {
    alarm_email = "ada@example.com"
  }

  assert {
    condition     = google_logging_metric.alarms[0].filter == "resource.type=(\"cloud_dataproc_batch\") AND (\"monitoring: alert\" OR \"monitoring: retrain\" OR \"monitoring: unwatched\")"
    error_message = "The metric counts other lines than monitoring's alarms."
  }

  assert {
    condition     = one(google_logging_metric.alarms[0].metric_descriptor).metric_kind == "DELTA" && one(google_logging_metric.alarms[0].metric_descriptor).value_type == "INT64"
    error_message = "The metric does not count."
  }

  assert {
    condition = (
      length(google_monitoring_alert_policy.alarms[0].conditions) == 1 &&
      google_monitoring_alert_policy.alarms[0].conditions[0].condition_threshold[0].filter == "metric.type=\"logging.googleapis.com/user/churnlab-alarms\" AND resource.type=\"cloud_dataproc_batch\"" &&
      google_monitoring_alert_policy.alarms[0].conditions[0].condition_threshold[0].threshold_value == 0 &&
      google_monitoring_alert_policy.alarms[0].conditions[0].condition_threshold[0].comparison == "COMPARISON_GT"
    )
    error_message = "One line is not enough for an alarm, or the policy looks at another metric."
  }

  assert {
    condition = (
      google_monitoring_notification_channel.alarms[0].labels["email_address"] == "ada@example.com" &&
      tolist(google_monitoring_alert_policy.alarms[0].notification_channels) == tolist(google_monitoring_notification_channel.alarms[*].name)
    )
    error_message = "The alarm is for nobody, or for somebody else."
  }

  assert {
    condition     = contains(output.apis, "monitoring.googleapis.com")
    error_message = "The service that sends the mail is not on."
  }
}

run "with_composer_the_log_of_its_tasks_is_watched_as_well" {
  command = plan

  variables {
    alarm_email     = "ada@example.com"
    create_composer = true
  }

  assert {
    condition = toset([
      for condition in google_monitoring_alert_policy.alarms[0].conditions : reverse(split("=", condition.condition_threshold[0].filter))[0]
    ]) == toset(["\"cloud_dataproc_batch\"", "\"cloud_composer_environment\""])
    error_message = "A DAG that nobody watched writes to nobody."
  }

  # By default nothing from Airflow's machines comes in, so there is no right and no address either.
  assert {
    condition = (
      !contains(keys(google_cloud_run_v2_service_iam_member.invokers), "dag") &&
      !contains(keys(google_composer_environment.airflow[0].config[0].software_config[0].env_variables), "CHURNLAB_FUNCTION_URL")
    )
    error_message = "The DAG has a right that is of no use."
  }
}

run "the_dag_may_call_the_function_where_its_call_comes_in" {
  command = plan

  variables {
    create_composer  = true
    function_ingress = "ALLOW_ALL"
    batch_image      = "us-central1-docker.pkg.dev/mock-project/churnlab/batch:v1"
  }

  assert {
    condition = (
      google_cloud_run_v2_service_iam_member.invokers["dag"].role == "roles/run.invoker" &&
      google_cloud_run_v2_service_iam_member.invokers["dag"].member == "serviceAccount:${output.service_accounts["dag"]}"
    )
    error_message = "The DAG may not call the function."
  }

  assert {
    condition = (
      google_composer_environment.airflow[0].config[0].software_config[0].env_variables["CHURNLAB_FUNCTION_URL"] == output.function_url &&
      google_composer_environment.airflow[0].config[0].software_config[0].env_variables["CHURNLAB_BATCH_IMAGE"] == var.batch_image
    )
    error_message = "The DAG does not know the function's address, or the batches' image."
  }
}

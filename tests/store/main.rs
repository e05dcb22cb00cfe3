//! The store, driven through its trait: the same cases on every database.

mod cases;
mod crash;
mod fixture;
mod postgres_server;
mod server;
mod sqlite_file;

macro_rules! on_every_database {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            use crate::{cases, fixture::Fixture};
            $(#[tokio::test]
            async fn $case() {
                cases::$case(Fixture::sqlite().await).await;
            })+
        }
        mod postgres {
            use crate::{cases, fixture::Fixture};
            $(#[tokio::test]
            async fn $case() {
                if let Some(fixture) = Fixture::postgres().await {
                    cases::$case(fixture).await;
                }
            })+
        }
    };
}

on_every_database!(
    create_is_idempotent_and_conflicts_are_refused,
    a_run_that_is_created_several_times_at_once_is_created_once,
    a_claim_of_any_alias_gets_the_next_task_of_a_thousand_groups,
    specifications_out_of_range_are_refused,
    a_task_goes_through_its_life,
    a_claim_asked_again_gives_the_same_lease,
    a_runner_that_asks_anew_loses_its_old_lease,
    stale_fences_are_refused,
    completing_is_idempotent_by_digest,
    a_result_and_the_completion_are_delivered_at_once,
    after_the_end_no_new_names_are_taken_down,
    results_may_be_optional,
    failing_is_idempotent_and_retried_within_its_budget,
    a_lost_task_is_retried_then_failed,
    a_task_lost_with_three_hosts_is_poison,
    releases_and_announced_losses_cost_nothing,
    a_bad_host_is_drained_and_a_lone_one_is_not,
    a_failing_benchmark_drains_nobody,
    unclaimed_tasks_fail_after_their_deadline,
    stopping_cancels_what_has_not_ended,
    done_nothing_and_not_found_are_told_apart,
    scopes_are_checked,
    events_tell_the_story_in_order,
    a_restart_keeps_everything_and_extends_leases_once,
    hosts_and_runners_are_seen,
    deadlines_are_moved_after_the_end_as_well,
    lists_are_paged_and_filtered,
    watches_move_with_the_queue_and_the_events,
    concurrent_claims_hand_out_every_task_once,
    a_large_run_is_created_and_stopped,
    closed_stores_refuse,
);

//! What people meet on Podman, where it could differ from Docker; and a group that changes its runtime.

use crate::{
    adoption, conversation, foreign, gateway, mounts,
    place::{On, Place, chat},
    process::Running,
};

fn on_podman(test: impl FnOnce(&Place)) {
    if let Some(place) = Place::on(On::Podman) {
        test(&place);
    }
}

#[test]
fn a_conversation() {
    on_podman(conversation::replies_alone_are_on_stdout_and_everything_said_is_in_the_database);
}

#[test]
fn files_belong_to_the_person() {
    on_podman(conversation::an_agent_reads_writes_and_runs_in_its_groups_folder);
}

#[test]
fn follow_ups() {
    on_podman(conversation::what_is_said_to_a_busy_agent_is_answered_by_the_same_one);
}

#[test]
fn a_crash() {
    on_podman(conversation::a_crash_is_told_and_tried_again);
}

#[test]
fn a_foreign_agent() {
    on_podman(foreign::a_foreign_agent_answers_follows_up_and_ends_when_it_is_asked_to);
}

#[test]
fn additional_mounts() {
    on_podman(mounts::an_agent_reads_and_writes_what_is_allowed_and_its_owner_is_told_once_of_the_rest);
}

#[test]
fn the_project() {
    on_podman(mounts::f65_the_main_group_reads_the_project_without_its_secrets);
}

#[test]
fn a_mount_that_is_swapped() {
    on_podman(mounts::a_swap_between_the_check_and_the_start_gains_nothing);
}

#[test]
fn a_host_that_is_killed_or_ended_costs_nothing() {
    on_podman(adoption::a_service_that_is_killed_and_restarted_in_the_middle_of_an_answer_answers_once);
}

#[test]
fn a_gateway_that_comes_back() {
    on_podman(gateway::a_live_agent_has_its_gateway_again_when_the_next_host_is_ready);
}

#[test]
fn containers_end_with_their_service_where_that_is_wished() {
    on_podman(adoption::a_service_that_is_told_to_stop_its_containers_does);
}

#[test]
fn a_group_that_changes_its_runtime_between_two_turns_keeps_its_session() {
    if Place::on(On::Sandbox).is_none() {
        return;
    }
    on_podman(|place| {
        place.chat(&["the code is 4711"]).succeeded();
        let mut elsewhere = place.command(chat(&["recall"]));
        elsewhere.env("NANOCLAW_CONTAINER_RUNTIME", "sandbox").env_remove("CONTAINER_IMAGE");
        let recalled = "I recall 1 message:\n1. ann: the code is 4711\n";
        assert_eq!(Running::start(&mut elsewhere).ended().succeeded(), recalled);
        let again = place.chat(&["recall"]).succeeded();
        assert_eq!(again, "I recall 2 messages:\n1. ann: the code is 4711\n2. ann: recall\n");
        assert_eq!(place.rows("SELECT runtime FROM runs ORDER BY number"), ["podman", "sandbox", "podman"]);
    });
}

/// The one word of the configuration is all that differs: folder, session and memory are the home's.
#[test]
fn a_group_goes_from_podman_to_docker_and_back_by_one_word() {
    let Some(docker) = Place::on(On::Docker) else { return };
    on_podman(|place| {
        let say_in_docker = |messages: &[&str]| {
            let mut command = place.command(chat(messages));
            command.env("NANOCLAW_CONTAINER_RUNTIME", "docker").env("CONTAINER_IMAGE", docker.image());
            Running::start(&mut command).ended().succeeded()
        };
        let session = place.chat(&["the code is 4711", "!session"]).succeeded().lines().last().unwrap().to_owned();
        assert_eq!(say_in_docker(&["recall"]), "I recall 2 messages:\n1. ann: the code is 4711\n2. ann: !session\n");
        assert_eq!(say_in_docker(&["!session"]).lines().last().unwrap(), session);
        let recalled = place.chat(&["recall"]).succeeded();
        assert!(recalled.starts_with("I recall 4 messages:\n1. ann: the code is 4711\n"), "{recalled}");
        assert_eq!(place.rows("SELECT runtime FROM runs ORDER BY number"), ["podman", "docker", "docker", "podman"]);
    });
}

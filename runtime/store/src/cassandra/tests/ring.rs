//! What happens to nodes of Cassandra and to the keyspace: nothing that was answered is lost, or every gateway holds and says why.
//!
//! Each starts three nodes of its own, for half a minute and 3 GB; most are left to `cargo xtask faults`.

use super::counts::{others, taken};
use super::run::{GATEWAYS, Run, must_be_right};
use super::*;
use crate::WindowCount;
use weir_cassandra_harness::Seen;

/// Nobody keeps for a node that is away what it missed: it must be asked for.
const NO_HINTS: &str = "hinted_handoff_enabled: false";

fn options_behind_proxies() -> Options {
    Options::default().behind_proxies()
}

/// Holds or follows: what is not to be is a gateway that goes another way and says nothing.
fn either_right_or_held(run: &mut Run, held_by: &str) {
    let stores = run.stores();
    let all_hold = || stores.iter().all(|store| store.trouble().is_some_and(|cause| cause.contains(held_by)));
    let all_follow = || stores.iter().all(|store| store.trouble().is_none());
    until(|| {
        stores.iter().for_each(|store| store.follow_now());
        all_hold() || all_follow()
    });
    if all_follow() {
        println!("nothing was lost");
        return must_be_right(&run.judged());
    }
    println!("held: {:?}", stores[0].trouble());
    one_history_again(&stores);
}

/// The operator's way out: one gateway's configuration becomes the store's, and the others take it.
fn one_history_again(stores: &[&Cassandra]) {
    let furthest = stores.iter().max_by_key(|store| store.status().revision).unwrap();
    let consumers = |store: &Cassandra| store.view().unwrap().count(Kind::Consumer).unwrap();
    let had = consumers(furthest);
    let revision = wait(furthest.republish()).unwrap();
    assert!(stores.iter().all(|store| store.status().revision <= revision), "above every revision that was seen");
    for store in stores.iter().filter(|store| !std::ptr::eq(**store, *furthest)) {
        // What it holds against may have been told to it a moment before the new history.
        until(|| wait(store.adopt()).is_ok());
        until_at(store, revision);
    }
    assert_eq!(consumers(furthest), had, "it is what that gateway had");
    let written = until_written(stores[0], 5000);
    stores.iter().for_each(|store| until_at(store, written.revision));
    stores.iter().for_each(|store| same(stores[0], store));
}

#[test]
fn yesterdays_keyspace_makes_all_hold_and_one_word_ends_it() {
    let (cluster, options) = own(1);
    let mut run = Run::on((cluster, options), Keeping::default());
    run.under_clients(|run| run.until_answered(50));
    must_be_right(&run.judged());
    let backup = tempfile::tempdir().unwrap();
    let node = run.cluster.node(0);
    node.nodetool(&["flush"]).unwrap();
    node.stop().unwrap();
    node.save(backup.path()).unwrap();
    node.start_again().unwrap();
    run.under_clients(|run| run.until_answered(50));
    until_same(&run.stores());
    let before: Vec<_> = run.stores().iter().map(|store| count_consumers(store)).collect();
    let node = run.cluster.node(0);
    node.stop().unwrap();
    node.restore(backup.path()).unwrap();
    node.start_again().unwrap();
    for store in run.stores() {
        until_held(store, "went back");
    }
    let now: Vec<_> = run.stores().iter().map(|store| count_consumers(store)).collect();
    assert_eq!(before, now, "none drops what it serves");
    one_history_again(&run.stores());
}

fn count_consumers(store: &Cassandra) -> u64 {
    store.view().unwrap().count(Kind::Consumer).unwrap()
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn a_wiped_seed_that_comes_back_loses_nothing() {
    let mut run = Run::on(on(options_behind_proxies().yaml(NO_HINTS), 3), Keeping::default());
    run.under_clients(|run| {
        run.until_answered(50);
        let seed = run.cluster.node(0);
        seed.kill().unwrap();
        seed.wipe().unwrap();
        seed.start_alone().unwrap();
        run.until_answered(50);
    });
    either_right_or_held(&mut run, "weir cluster");
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn a_wiped_seed_beside_one_that_missed_a_commit_is_noticed() {
    let mut run = Run::on(on(options_behind_proxies().yaml(NO_HINTS), 3), Keeping::default());
    run.under_clients(|run| {
        run.until_answered(50);
        run.cluster.node(2).kill().unwrap();
        // What the third does not have, and nobody keeps for it.
        run.until_answered(50);
    });
    let [seed, witness, late] = [0, 1, 2].map(|at| run.cluster.node(at));
    seed.kill().unwrap();
    seed.wipe().unwrap();
    late.start_again().unwrap();
    run.cluster.until_seen(1, 2, Seen::Up).unwrap();
    seed.start_alone().unwrap();
    // The only one who knows is not asked.
    witness.pause().unwrap();
    run.under_clients(|_| std::thread::sleep(Duration::from_secs(20)));
    let witness = run.cluster.node(1);
    witness.resume().unwrap();
    either_right_or_held(&mut run, "weir cluster");
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn a_replaced_node_loses_nothing() {
    let mut run = Run::on(on(options_behind_proxies().yaml(NO_HINTS), 3), Keeping::default());
    run.under_clients(|run| {
        run.until_answered(50);
        let node = run.cluster.node(2);
        node.kill().unwrap();
        [0, 1].iter().for_each(|by| run.cluster.until_seen(*by, 2, Seen::Down).unwrap());
        run.until_answered(50);
        node.replace().unwrap();
        run.until_answered(50);
    });
    must_be_right(&run.judged());
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn more_copies_without_a_repair_are_noticed() {
    let cluster = options_behind_proxies().start(3).unwrap();
    let options = CassandraOptions { replication: Replication::Factor(1), ..options_of(&cluster) };
    Cassandra::bootstrap(&options).unwrap();
    let mut run = Run::on((cluster, options), Keeping::default());
    run.under_clients(|run| {
        run.until_answered(50);
        let center = run.cluster.datacenters()[0].to_owned();
        by_hand(
            &run.options,
            &format!("ALTER KEYSPACE weir WITH replication = {{'class': 'NetworkTopologyStrategy', '{center}': 3}}"),
        );
        std::thread::sleep(Duration::from_secs(20));
    });
    either_right_or_held(&mut run, "weir cluster");
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn a_node_joins_under_appends() {
    let cluster = options_behind_proxies().joining(1).start(3).unwrap();
    let options = CassandraOptions {
        replication: Replication::Factor(2),
        contact_points: cluster.contact_points().iter().take(2).map(ToString::to_string).collect(),
        ..options_of(&cluster)
    };
    Cassandra::bootstrap(&options).unwrap();
    let mut run = Run::on((cluster, options), Keeping::default());
    run.under_clients(|run| {
        run.until_answered(50);
        run.cluster.node(2).join().unwrap();
        run.until_answered(100);
    });
    must_be_right(&run.judged());
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn two_data_centres_go_on_while_the_small_one_is_cut_off_and_lose_nothing_without_the_large_one() {
    let cluster = options_behind_proxies().datacenters(&["east", "east", "west"]).start(3).unwrap();
    let copies = [("east".to_owned(), 2), ("west".to_owned(), 1)];
    let options = CassandraOptions { replication: Replication::PerDataCenter(copies.to_vec()), ..options_of(&cluster) };
    Cassandra::bootstrap(&options).unwrap();
    let mut run = Run::on((cluster, options), Keeping::default());
    run.under_clients(|run| {
        run.until_answered(50);
        run.cluster.node(2).pause().unwrap();
        run.until_answered(50);
        run.cluster.node(2).resume().unwrap();
        run.until_answered(20);
        [0, 1].iter().for_each(|at| run.cluster.node(*at).pause().unwrap());
        // Two of three are away: nobody can be answered.
        std::thread::sleep(Duration::from_secs(15));
        [0, 1].iter().for_each(|at| run.cluster.node(*at).resume().unwrap());
        run.until_answered(50);
    });
    must_be_right(&run.judged());
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn a_tail_that_one_copy_missed_arrives_though_no_other_is_asked() {
    let mut run = Run::on(on(options_behind_proxies().yaml(NO_HINTS), 3), Keeping::default());
    let late = run.cluster.node(2);
    late.kill().unwrap();
    run.under_clients(|run| run.until_answered(50));
    let (first, second) = (&run.gateways[0], &run.gateways[1]);
    // The third gateway reaches the node alone that has missed it.
    let way = &run.gateways[2].way;
    way.proxies[..2].iter().for_each(FaultProxy::cut);
    run.cluster.node(2).start_again().unwrap();
    run.cluster.until_all_up().unwrap();
    let tip = until_written(&first.store, 5001).revision;
    until_at(&second.store, tip);
    until_at(&run.gateways[2].store, tip);
    same(&first.store, &run.gateways[2].store);
    run.gateways[2].way.each(FaultProxy::pass);
    must_be_right(&run.judged());
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn two_copies_serve_and_read_on_with_one_and_write_with_both() {
    let (cluster, options) = own(2);
    let (_first, a) = node(&options);
    let (_second, b) = node(&options);
    add(&a, 1).unwrap();
    until_at(&b, Revision(1));
    cluster.node(1).kill().unwrap();
    until(|| add(&a, 2).is_err());
    let refused = add(&a, 3).unwrap_err();
    println!("{refused}");
    assert!(matches!(&refused, WriteError::Unavailable { cause } if cause.contains("traffic is served as before")), "{refused}");
    assert_eq!((count(&a), count(&b)), (1, 1));
    cluster.node(1).start_again().unwrap();
    cluster.until_all_up().unwrap();
    let written = until_written(&a, 4);
    until_at(&b, written.revision);
    same(&a, &b);
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn clocks_of_cassandra_that_differ_by_minutes_do_no_harm() {
    // Between nodes a message from the past would be one that nobody waits for any more.
    let options = options_behind_proxies().yaml("internode_timeout: false");
    let options = options.wrapped(0, &["faketime", "-f", "+300s"]).wrapped(2, &["faketime", "-f", "-300s"]);
    let mut run = Run::on(on(options, 3), SOON);
    let known = |store: &Cassandra| store.nodes().iter().filter(|node| node.live).count();
    run.under_clients(|run| {
        run.until_answered(200);
        // Signs of life that later ones do not hide behind the future.
        until(|| run.stores().iter().all(|store| known(store) == GATEWAYS));
    });
    assert!(end(&run.options).floor > Revision(0), "rows were let go meanwhile");
    // Counts that one node takes as of yesterday do not lapse for one that lives in tomorrow, whichever are asked.
    let stores = run.stores();
    for turn in 0..20 {
        let ending = |count| WindowCount { left_s: 1, grown: count > 0, ..taken(&format!("key {turn}"), count) };
        others(stores[0], ending(7));
        assert_eq!(others(stores[1], ending(5)), 7);
        assert_eq!(others(stores[2], ending(0)), 12);
    }
    must_be_right(&run.judged());
}

/// What `docs/cluster.md` has an operator type.
fn grants_of_the_page() -> Vec<String> {
    let page = std::fs::read_to_string("../../docs/cluster.md").unwrap();
    let grants = page.split_once("```cql\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    grants.lines().map(|line| line.split_once(';').unwrap().0.to_owned()).collect()
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn while_the_only_node_that_knows_the_logins_is_down_gateways_serve_on_and_more_copies_of_them_end_that() {
    let cluster = Options::default().authentication().start(3).unwrap();
    let as_user = |user: &str, password: &str| CassandraOptions {
        replication: Replication::Factor(3),
        credentials: Some((user.to_owned(), password.to_owned())),
        ..options_of(&cluster)
    };
    let owner = as_user("cassandra", "cassandra");
    Cassandra::bootstrap(&owner).unwrap();
    let says = |statements: &[&str]| {
        let all = once(async {
            let session = connection::connect(&owner).await?;
            for statement in statements {
                session.query_unpaged(*statement, ()).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        all.unwrap();
    };
    // `replication_factor` would change nothing where data centres are named already.
    let copies = |copies| {
        format!("ALTER KEYSPACE system_auth WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': {copies}}}")
    };
    // As it is where nobody has cared; the nodes of these tests know better.
    says(&[&copies(1)]);
    let grants = grants_of_the_page();
    let (for_settings, for_all) = grants.split_last().unwrap();
    says(&for_all.iter().map(String::as_str).collect::<Vec<_>>());
    let options = as_user("weir", "sesame");
    let (folder, a) = node(&options);
    fill(&a, 1..5);
    let may_not_look = |options: &CassandraOptions| {
        Cassandra::advice(options).unwrap().iter().any(|line| line.contains("GRANT SELECT ON system_views.settings TO weir"))
    };
    assert!(may_not_look(&options));
    says(&[for_settings.as_str()]);
    // Cassandra believes what it has looked up for two seconds.
    until(|| !may_not_look(&options));
    let one_copy = |options: &CassandraOptions| {
        Cassandra::advice(options).unwrap().iter().any(|line| line.contains("system_auth has one copy"))
    };
    assert!(one_copy(&options));
    let holders = cluster.node(0).nodetool(&["getendpoints", "system_auth", "roles", "weir"]).unwrap();
    let knows = |node: &weir_cassandra_harness::Node| holders.lines().any(|line| line.trim() == node.address().ip().to_string());
    let alone = cluster.nodes().iter().position(knows).unwrap();
    assert_eq!(holders.lines().filter(|line| line.starts_with("127.")).count(), 1, "{holders}");
    cluster.node(alone).kill().unwrap();
    drop(a);
    let a = Cassandra::open(folder.path(), options.clone()).unwrap();
    assert_eq!(count(&a), 4);
    let error = add(&a, 50).unwrap_err();
    assert!(matches!(error, WriteError::Unavailable { .. }), "{error}");
    println!("while nobody can log in: {error}");
    cluster.node(alone).start_again().unwrap();
    cluster.until_all_up().unwrap();
    until_written(&a, 51);

    says(&[&copies(3)]);
    for node in cluster.nodes() {
        node.nodetool(&["repair", "--full", "system_auth"]).unwrap();
    }
    assert!(!one_copy(&options));
    cluster.node(alone).kill().unwrap();
    drop(a);
    let a = Cassandra::open(folder.path(), options).unwrap();
    until_written(&a, 52);
    assert_eq!(count(&a), 6);
}

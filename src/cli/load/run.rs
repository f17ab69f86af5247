//! The phases of a run: set up, connect, send, settle, stop, gather, check, report.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::check::{self, Case, Findings};
use super::cpu;
use super::dial;
use super::evidence::{self, Testimony};
use super::idle::{self, Memory, SOCKETS_PER_USER};
use super::meter::Meter;
use super::plan::{Plan, Shape};
use super::progress::{Progress, REDRAW};
use super::record::{Record, Scene};
use super::report;
use super::rest::{Account, Node};
use super::setup::{self, Impossible, OwnerLogin};
use super::socket::{Driver, End, Run};
use super::text::Texts;
use super::trace;
use crate::lifecycle::Tasks;

/// How long all clients together may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a wrong unread count is asked for again: it is derived by a consumer, which no
/// client can wait for.
const COUNT_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks at such a count.
const COUNT_PAUSE: Duration = Duration::from_millis(200);
/// Clients that listen to idle groups.
const IDLE_USERS: usize = 100;
/// How long tasks may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Everyone of a run.
struct Cast {
    run: String,
    nodes: Vec<Node>,
    owner: Account,
    users: Vec<Account>,
}

/// Sends and audits. `false` when something is wrong.
///
/// # Errors
/// The run could not be made.
pub(super) async fn load(args: &Args) -> Result<bool, Impossible> {
    check_args(args)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let cast = cast(args, args.users).await?;
    let scene = stage(args, &cast, seed).await?;
    say(&format!("run {}, seed {seed}\n", cast.run));
    let (start, started) = watch::channel(None);
    let run = Arc::new(Run {
        scene,
        meter: Meter::default(),
        nodes: cast.nodes.clone(),
        is_reading: !args.no_reads,
        origin: Instant::now(),
        start: started,
        stop: CancellationToken::new(),
    });
    let tasks = Tasks::default();
    listen_idly(args, &cast, &tasks).await?;
    if args.trace {
        tasks.spawn(trace::trace(Arc::clone(&run)));
    }
    let clients = spawn_clients(&run, &cast, seed, &tasks);
    let connected = wait_connected(&run).await;
    let before = cpu::used_by(&args.server_pid)?;
    if connected.is_ok() {
        start.send_replace(Some(run.origin.elapsed()));
        send(&run).await;
        settle(&run, Duration::from_secs(args.settle)).await;
    }
    let used = cpu::used_by(&args.server_pid)?.saturating_sub(before);
    run.stop.cancel();
    let ends = join_all(clients)
        .await
        .into_iter()
        .map(Result::unwrap_or_default)
        .collect();
    tasks.stop(STOP_TIMEOUT, std::future::pending()).await;
    connected?;
    let is_clean = audit(&run, &cast, ends, args.may_lose).await?;
    if !args.server_pid.is_empty() {
        let (delivered, sent) = (run.meter.delivered.get(), run.meter.sent.get());
        say(&cpu::rows(used, delivered, sent));
    }
    Ok(is_clean)
}

/// Groups in which nobody speaks, with clients that listen to them beside the run.
async fn listen_idly(args: &Args, cast: &Cast, tasks: &Tasks) -> Result<(), Impossible> {
    if args.idle_groups == 0 {
        return Ok(());
    }
    let count = args.idle_groups.min(IDLE_USERS);
    let run = format!("{}-idle", cast.run);
    let users = setup::users(&cast.nodes, &run, count, || {}).await?;
    let token = &cast.owner.tokens.access_token;
    let bar = Progress::new("idle groups", args.idle_groups);
    let tick = || bar.step();
    setup::idle_groups(&cast.nodes, token, args.idle_groups, &users, tick).await?;
    idle::open_each(&cast.nodes, &users, tasks).await
}

fn check_args(args: &Args) -> Result<(), Impossible> {
    let wrong = if args.users == 0 || args.groups == 0 {
        "--users and --groups must be above 0"
    } else if !args.rate.is_finite() || args.rate <= 0.0 {
        "--rate must be above 0"
    } else {
        return Ok(());
    };
    Err(Impossible::Arguments(wrong.to_owned()))
}

fn random_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// A name that no other run has.
fn run_name() -> String {
    let mut name = uuid::Uuid::new_v4().simple().to_string();
    name.truncate(8);
    name
}

async fn cast(args: &Args, users: usize) -> Result<Cast, Impossible> {
    let trust = dial::trust(args.ca.as_deref())?;
    let nodes = args
        .url
        .iter()
        .map(|url| Node::new(url, &trust))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(node) = nodes.iter().find(|node| node.address().is_none()) {
        let said = format!("{} is no http:// or https:// URL", node.base());
        return Err(Impossible::Arguments(said));
    }
    let run = run_name();
    let login = OwnerLogin {
        name: args.owner.clone(),
        password: args.password.clone(),
        setup_code: args.setup_code.clone(),
    };
    let owner = setup::owner(&nodes[0], &login, &run).await?;
    let bar = Progress::new("users", users);
    let users = setup::users(&nodes, &run, users, || bar.step()).await?;
    Ok(Cast {
        run,
        nodes,
        owner,
        users,
    })
}

/// Makes the plan and its groups.
async fn stage(args: &Args, cast: &Cast, seed: u64) -> Result<Scene, Impossible> {
    let texts = Texts::new(lines(args.text.as_deref())?, &cast.run, seed);
    let shape = Shape {
        users: cast.users.len(),
        groups: args.groups,
        rate: args.rate,
        length: Duration::from_secs(args.seconds),
        seed,
    };
    let plan = Plan::new(shape, texts);
    let users: Vec<_> = cast.users.iter().map(|account| account.user.id).collect();
    let bar = Progress::new("groups", args.groups);
    let token = &cast.owner.tokens.access_token;
    let groups = setup::groups(&cast.nodes, token, &plan, &users, || bar.step()).await?;
    Ok(Scene::new(plan, groups, users))
}

fn lines(path: Option<&Path>) -> Result<Vec<String>, Impossible> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let unreadable = |source| Impossible::File {
        path: path.display().to_string(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn spawn_clients(
    run: &Arc<Run>,
    cast: &Cast,
    seed: u64,
    tasks: &Tasks,
) -> Vec<oneshot::Receiver<End>> {
    let spawn = |(user, account): (usize, &Account)| {
        let (done, record) = oneshot::channel();
        let driver = Driver::new(Arc::clone(run), user, account.tokens.clone(), seed);
        tasks.spawn(async move {
            // Nobody waits for the record of a run that was given up.
            done.send(Box::pin(driver.drive()).await)
                .unwrap_or_default();
        });
        record
    };
    cast.users.iter().enumerate().map(spawn).collect()
}

async fn wait_connected(run: &Run) -> Result<(), Impossible> {
    let users = run.scene.users.len();
    let bar = Progress::new("sockets", users);
    let all = async {
        while run.meter.live.get() < users as u64 {
            bar.set(run.meter.live.get(), &run.meter);
            tokio::time::sleep(REDRAW).await;
        }
    };
    let late = tokio::time::timeout(CONNECT_TIMEOUT, all).await.is_err();
    let live = run.meter.live.get();
    let said = || format!("only {live} of {users} sockets got their welcome");
    if late {
        Err(Impossible::Connect(said()))
    } else {
        Ok(())
    }
}

/// Waits until all was said.
async fn send(run: &Run) {
    let planned = run.scene.plan.sayings().len();
    let bar = Progress::new("sent", planned);
    while run.meter.sent.get() < planned as u64 {
        bar.set(run.meter.sent.get(), &run.meter);
        tokio::time::sleep(REDRAW).await;
    }
}

/// Waits until every pair arrived and nothing is unsettled, but no longer than `patience`.
async fn settle(run: &Run, patience: Duration) {
    let meter = &run.meter;
    let pairs = run.scene.plan.pairs();
    let bar = Progress::new("delivered", usize::try_from(pairs).unwrap_or(usize::MAX));
    let all = async {
        while meter.busy.get() > 0 || meter.delivered.get() + meter.void.get() < pairs {
            bar.set(meter.delivered.get(), meter);
            tokio::time::sleep(REDRAW).await;
        }
    };
    // What did not arrive in time is for the check to tell.
    tokio::time::timeout(patience, all)
        .await
        .unwrap_or_default();
}

/// Asks every node, checks, reports.
async fn audit(run: &Run, cast: &Cast, ends: Vec<End>, may_lose: bool) -> Result<bool, Impossible> {
    let owner = cast.nodes[0]
        .refresh(&cast.owner.tokens.refresh_token)
        .await?;
    let (records, tokens): (Vec<_>, Vec<_>) = ends
        .into_iter()
        .map(|end| (end.record, end.access_token))
        .unzip();
    let mut testimonies = Vec::new();
    for node in &cast.nodes {
        let logs = evidence::logs(node, &owner.access_token, &run.scene).await?;
        let node_name = node.base().to_owned();
        let testimony = Testimony {
            node: node_name,
            logs,
            counts: Vec::new(),
        };
        testimonies.push(count(run, node, testimony, &tokens, &records).await?);
    }
    let case = Case {
        scene: &run.scene,
        records: &records,
        testimonies: &testimonies,
        may_lose,
    };
    let findings = check::check(&case);
    run.meter.delivery.record_never(findings.undelivered());
    report(&run.meter, &findings);
    Ok(findings.is_clean())
}

/// Adds every user's counts to the testimony. Those that are not the recount yet are asked for
/// again for a while.
async fn count(
    run: &Run,
    node: &Node,
    mut testimony: Testimony,
    tokens: &[String],
    records: &[Record],
) -> Result<Testimony, Impossible> {
    testimony.counts = evidence::counts(node, tokens, &run.scene).await?;
    let deadline = Instant::now() + COUNT_PATIENCE;
    for (user, record) in records.iter().enumerate() {
        let recount = check::recount(&run.scene, &testimony, user, record);
        while !testimony.counts[user].agree_with(&recount) && Instant::now() < deadline {
            tokio::time::sleep(COUNT_PAUSE).await;
            testimony.counts[user] = evidence::counts_of(node, &tokens[user], &run.scene).await?;
        }
    }
    Ok(testimony)
}

fn report(meter: &Meter, findings: &Findings) {
    say(&report::tables(meter, findings));
    for witness in findings.witnesses() {
        say(&format!("{witness}\n"));
    }
}

/// Opens idle sockets and prints what one costs the server.
///
/// # Errors
/// The run could not be made.
pub(super) async fn measure_idle(args: &Args, count: usize) -> Result<(), Impossible> {
    let Some(&pid) = args.server_pid.first() else {
        return Err(Impossible::Arguments(
            "--idle needs --server-pid".to_owned(),
        ));
    };
    let cast = cast(args, count.div_ceil(SOCKETS_PER_USER).max(1)).await?;
    stage(args, &cast, random_seed()).await?;
    let tasks = Tasks::default();
    let bar = Progress::new("sockets", count);
    // The first ones let the server give back what hashing passwords took, and make what it makes once.
    let first = count / FIRST_SHARE;
    let mut memory = Vec::new();
    for sockets in [0..first, first..count] {
        let opening = idle::open_sockets(&cast.nodes, &cast.users, sockets, &tasks, || bar.step());
        opening.await?;
        tokio::time::sleep(Duration::from_secs(args.seconds)).await;
        memory.push(Memory::of(pid)?);
    }
    drop(bar);
    say(&idle::table([first, count], [memory[0], memory[1]]));
    tasks.stop(Duration::ZERO, std::future::pending()).await;
    Ok(())
}

/// The share of idle sockets that are open before memory is read for the first time.
const FIRST_SHARE: usize = 5;

/// Writes to standard output; a reader that went away is no reason to fail.
fn say(text: &str) {
    std::io::stdout()
        .write_all(text.as_bytes())
        .unwrap_or_default();
}

//! `pinfold demo`: a platform of its own, two functions, and what happens when they are called.

mod story;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use clap::{ArgAction, Args};
use model::runtime::Language;
use sandbox::Packs;

use super::interpreters;
use super::server_args::{self, ServerArgs};
use super::up::{StopSignals, TemporaryRoot, block_on, cannot_start, init_log};
use crate::cli::{Context, Exit, Failure};
use crate::client::{Client, Target};
use crate::serve;
use story::{Sample, Story};

/// What `demo` sets differently where nothing else was written: one minute is too long to watch.
const DEFAULTS: [(&str, &str); 3] = [("events.retry_first", "1s"), ("events.retry_second", "2s"), ("log", "error")];

#[derive(Debug, Args)]
pub struct Demo {
    /// End when everything was shown, instead of running on until Ctrl-C
    #[arg(long, action = ArgAction::SetTrue)]
    once: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub fn run(command: Demo, context: &Context) -> Result<Exit, Failure> {
    let samples = samples(&Packs::new())?;
    let root = match context.global.data_dir {
        None => Some(TemporaryRoot::new()?),
        Some(_) => None,
    };
    let mut layers = command.server.layers(context);
    if let Some(root) = &root {
        root.add_to(&mut layers);
    }
    for (key, value) in DEFAULTS {
        layers.add_default(key, value.to_owned());
    }
    let (mut settings, _) = server_args::resolve(&layers)?;
    if !layers.is_set("listen") && is_taken(settings.listen) {
        context.out.remark(format_args!("{} is taken; the demo takes a free port", settings.listen));
        settings.listen.set_port(0);
    }
    init_log(&settings.log);
    let data_dir = settings.data_dir.clone();
    block_on(async {
        let mut stop = StopSignals::new()?;
        let running = serve::start(settings).await.map_err(cannot_start)?;
        let client = Client::new(Target::of(&running.connection)?);
        let story = Story { client, out: &context.out, data_dir: &data_dir, temporary: root.is_some() };
        story.open(&running.notices);
        let shown = tokio::select! {
            shown = story.tell(&samples) => Some(shown),
            () = stop.requested() => None,
        };
        if matches!(shown, Some(Ok(()))) && !command.once {
            story.point_around();
            stop.requested().await;
        }
        running.drain().await;
        shown.unwrap_or(Ok(())).map(|()| Exit::Done)
    })
}

/// Two functions in the languages that are there: both if both are.
fn samples(packs: &Packs) -> Result<[Sample; 2], Failure> {
    let python = interpreters::python_runtime(packs);
    let node = interpreters::node_runtime(packs);
    let Some((first, second)) = python.clone().or(node.clone()).zip(node.or(python)) else {
        let looked_in = match packs.serve(Language::Python { minor: 13 }) {
            Err(missing) => missing.looked_in,
            Ok(_) => String::new(),
        };
        return Err(Failure::new(format!(
            "the demo needs Python 3 or Node.js, and neither is there; looked in {looked_in}"
        ))
        .hint("install one, on Debian: apt install python3"));
    };
    let choose = |runtime: &str, python, node| if runtime.starts_with("python") { python } else { node };
    let hello = choose(&first, include_str!("hello/app.py"), include_str!("hello/index.mjs"));
    let orders = choose(&second, include_str!("orders/app.py"), include_str!("orders/index.mjs"));
    Ok([
        Sample { name: "hello", runtime: first, code: hello },
        Sample { name: "orders", runtime: second, code: orders },
    ])
}

fn is_taken(address: SocketAddr) -> bool {
    matches!(TcpListener::bind(address), Err(error) if error.kind() == ErrorKind::AddrInUse)
}

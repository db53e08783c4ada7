//! Flags that configure a server: the frequent ones by name, every key with `--set`.

use clap::{ArgAction, Args};

use crate::cli::{Context, Failure};
use crate::config::Settings;
use crate::config::layers::Layers;
use crate::config::resolve::{self, Resolved, Surroundings};

/// Flags of `up`, `demo` and `config check`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ServerArgs {
    /// Address and port of the API; port 0 takes a free one [default: 127.0.0.1:4566]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The account that the first start creates [default: 000000000000]
    #[arg(long, value_name = "DIGITS")]
    pub account_id: Option<String>,
    /// The region in ARNs and for functions [default: us-east-1]
    #[arg(long)]
    pub region: Option<String>,
    /// The master key, outside the data directory [default: pinfold/master.key in the user's config home]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<String>,
    /// Accept any access key; only on a loopback address
    #[arg(long, action = ArgAction::SetTrue)]
    pub trust_loopback: bool,
    /// Run functions although this machine cannot wall them off
    #[arg(long, action = ArgAction::SetTrue)]
    pub allow_weak_isolation: bool,
    /// Any key of the configuration, such as events.age_max=1h
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl ServerArgs {
    /// Every flag that was given, as key and value.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let texts = [
            ("listen", &self.listen),
            ("account_id", &self.account_id),
            ("region", &self.region),
            ("key_file", &self.key_file),
        ];
        let switches = [("trust_loopback", self.trust_loopback), ("allow_weak_isolation", self.allow_weak_isolation)];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?)));
        let switches = switches.into_iter().filter(|(_, on)| *on).map(|(key, _)| (key.to_owned(), "true".to_owned()));
        self.set.iter().cloned().chain(texts).chain(switches).collect()
    }

    /// All layers, with these flags on top.
    pub fn layers(&self, context: &Context) -> Layers {
        let mut layers = context.layers();
        for (key, value) in self.pairs() {
            layers.add_flag(&key, value);
        }
        layers
    }
}

/// Resolves layers in the surroundings of this process.
pub fn resolve(layers: &Layers) -> Result<(Settings, Vec<Resolved>), Failure> {
    Ok(resolve::settings(layers, &Surroundings::of_this_process())?)
}

/// Splits at the first `=`.
pub fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

//! `--dev` and `--netns`: which device, and where.

use xhint::runtime::{Device, Home, Kept, Netns};

use crate::print;

/// A network device, here or in another namespace.
#[derive(Debug, Clone, clap::Args)]
pub struct On {
    /// The network device
    #[arg(long, value_name = "IFNAME")]
    pub dev: String,
    #[command(flatten)]
    pub within: Within,
}

/// A network namespace.
#[derive(Debug, Clone, clap::Args)]
pub struct Within {
    /// The network namespace the device is in, by its name for `ip netns` or by a path [default: the current one]
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
}

impl On {
    /// The device, and where its state is.
    pub fn find(&self) -> anyhow::Result<(Home, Device)> {
        self.within.device(&self.dev)
    }
}

impl Within {
    /// The namespace.
    pub fn netns(&self) -> anyhow::Result<Netns> {
        Ok(match &self.netns {
            Some(name) => Netns::named(name)?,
            None => Netns::current()?,
        })
    }

    /// The device `name` in it, and where its state is.
    pub fn device(&self, name: &str) -> anyhow::Result<(Home, Device)> {
        let device = Device::find(name, self.netns()?)?;
        Ok((Home::system()?.on_wait(waiting).on_kept(keeping), device))
    }
}

fn keeping(kept: &Kept) {
    print::warning(&kept.to_string());
}

fn waiting(device: &str, pid: Option<u32>) {
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    print::note(&format!("{device}: waiting for another xhint{pid} that is at work on it"));
}

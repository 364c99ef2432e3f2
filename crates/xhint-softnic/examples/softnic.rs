//! A soft NIC by hand, without firmware: `softnic up|send|status|down NAME [COUNT [RATE]]`.

use xhint_softnic::{Config, Mix, Result, SendOptions, SoftNic, Spread, Traffic};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["up", name] => SoftNic::up(name, &Config::default(), &[], Spread::Flow).map(drop),
        ["send", name, rest @ ..] => send(name, rest),
        ["status", name] => SoftNic::open(name).and_then(|nic| nic.status()).map(|s| println!("{s:#?}")),
        ["down", name] => SoftNic::down_by_name(name),
        _ => {
            eprintln!("usage: softnic up|send|status|down NAME [COUNT [RATE]]");
            std::process::exit(2);
        }
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn send(name: &str, rest: &[&str]) -> Result<()> {
    let nic = SoftNic::open(name)?;
    let traffic = Traffic::mixed(&Mix { to: nic.mac(), ..Mix::default() });
    let mut numbers = rest.iter().map(|n| n.parse().ok());
    let options = SendOptions {
        count: Some(numbers.next().flatten().unwrap_or(1000)),
        rate: numbers.next().flatten(),
        ..SendOptions::default()
    };
    let sent = nic.send(&traffic, &options)?;
    println!("{sent:?}");
    Ok(())
}

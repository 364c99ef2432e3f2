//! What `--json` prints of what is attached: shapes that stay as they are, whatever becomes of the state on disk and of the
//! library's structs. docs/json.md describes them.

use std::path::Path;

use serde_json::{Value, json};
use xhint::Provider;
use xhint::link::Fallback;
use xhint::runtime::attach::Done;
use xhint::runtime::counters::{Count, Counters};
use xhint::runtime::follow::{Event, EventKind};
use xhint::runtime::layouts::{Changed, LiveLayout};
use xhint::runtime::status::Status;
use xhint::runtime::{Filled, Filling, Job, LayoutState, LinkedAs, State};

/// What runs on one device.
pub fn status(status: &Status) -> Value {
    let state = status.state.as_ref();
    json!({
        "device": status.device,
        "ifindex": status.ifindex,
        "netns": status.netns,
        "netns_name": status.netns_name,
        "program": state.map(|s| &s.entry),
        "program_id": status.program_id,
        "mode": state.map(|s| s.mode.name()),
        "since": state.map(|s| s.since),
        "object": state.map(|s| path(&s.object.path)),
        "nics": state.map(nics),
        "layouts": state.map(layouts),
        "dispatch": state.map(|s| s.options.dispatch.name()),
        "options": state.map(|s| options(&s.options)),
        "fields": state.and_then(|s| s.filling.as_ref()).map(fields),
        "counters": status.counters.as_ref().map(counters),
        "runs": status.runs.map(|r| json!({"count": r.count, "nanoseconds": r.nanoseconds})),
        "maps_dir": status.maps_dir.as_deref().map(path),
        "maps": status.maps.iter().map(|m| json!({"name": m.name, "path": path(&m.path)})).collect::<Vec<_>>(),
        "trouble": status.trouble,
    })
}

/// What came of attaching.
pub fn attached(device: &str, job: &Job, done: &Done, warnings: &[String]) -> Value {
    let anew: Vec<_> = done.anew.iter().map(|a| json!({"map": a.map, "why": a.why})).collect();
    json!({
        "device": device,
        "program": done.entry,
        "program_id": done.program,
        "before": done.before,
        "replaced": done.replaced,
        "anew": anew,
        "dispatch": done.dispatch.name(),
        "why": Some(&done.why).filter(|why| !why.is_empty()),
        "walk": job.state.options.walk,
        "layouts": layouts(&job.state),
        "fields": job.filling.as_ref().map(fields),
        "warnings": warnings,
    })
}

/// Layouts that came or went: `what` says which.
pub fn changed(device: &str, what: &str, changed: &Changed, warnings: &[String]) -> Value {
    let layouts: Vec<_> = changed.layouts.iter().map(layout).collect();
    let swap = changed.swap.as_ref().map(|s| s.program);
    json!({"device": device, what: layouts, "swapped_to": swap, "warnings": warnings})
}

/// The layouts that packets are read by.
pub fn live(all: &[LiveLayout]) -> Value {
    all.iter().map(|live| with_sources(&live.layout, live.sources.clone())).collect()
}

/// Something that happened while a NIC is followed.
pub fn event(event: &Event) -> Value {
    let kind = match event.kind {
        EventKind::Swapped => "swapped",
        EventKind::Kept => "kept",
        EventKind::Note => "note",
        EventKind::Ended => "ended",
    };
    json!({"kind": kind, "text": event.text})
}

/// Where each field comes from, if packets carry no metadata.
fn fields(filling: &Filling) -> Vec<Value> {
    let absent = |field: &Filled| field.provider.is_none();
    let one = |field: &Filled| {
        json!({
            "field": field.field,
            "provider": field.provider.map(Provider::name),
            "from": Some(&field.words).filter(|_| !absent(field)),
            "why": Some(&field.words).filter(|_| absent(field)),
            "bits": field.bits,
            "nanoseconds": field.cost,
        })
    };
    filling.fields.iter().map(one).collect()
}

fn nics(state: &State) -> Vec<String> {
    state.nics.iter().map(|nic| path(&nic.path)).collect()
}

fn layouts(state: &State) -> Vec<Value> {
    state.layouts.iter().map(|layout| with_sources(layout, state.sources_of(layout))).collect()
}

fn with_sources(of: &LayoutState, sources: Vec<String>) -> Value {
    and(layout(of), json!({"sources": sources}))
}

fn layout(layout: &LayoutState) -> Value {
    json!({
        "name": layout.name,
        "id": layout.id,
        "size": layout.size,
        "slot": layout.slot,
        "fallback": layout.fallback,
        "selector": layout.selector,
    })
}

fn options(options: &LinkedAs) -> Value {
    let fallback = match options.fallback {
        Fallback::Program => None,
        Fallback::Action(action) => Some(action),
    };
    let bind_fields = options.bind_fields.iter().map(|bind| [bind.local.to_string(), bind.target.to_string()]);
    json!({
        "program": options.program,
        "layouts": options.layouts,
        "first": options.first,
        "bind": options.bind,
        "bind_fields": bind_fields.collect::<Vec<_>>(),
        "dispatch": options.asked.name(),
        "fallback": fallback,
        "walk": options.walk,
        "count": options.count,
        "allow_missing": options.allow_missing,
        "set": options.set,
        "fill": options.fill.said(),
        "drivers": options.drivers.iter().map(|file| &file.name).collect::<Vec<_>>(),
        "keep_metadata": options.keep_metadata,
    })
}

fn counters(counters: &Counters) -> Value {
    let count = |count: Count| json!({"packets": count.packets, "last_seen": count.last_seen});
    let layouts = counters.layouts.iter().map(|l| {
        let layout = json!({"name": l.name, "id": l.id, "size": l.size, "live": l.live});
        and(layout, count(l.count))
    });
    let ids = counters.ids.iter().map(|i| {
        let id = json!({"id": i.id, "size": i.size, "layout": i.layout});
        and(id, count(i.count))
    });
    json!({
        "layouts": layouts.collect::<Vec<_>>(),
        "ids": ids.collect::<Vec<_>>(),
        "unknown": count(counters.unknown),
        "no_metadata": count(counters.no_metadata),
    })
}

/// One object with the members of another.
fn and(mut one: Value, more: Value) -> Value {
    if let (Value::Object(one), Value::Object(more)) = (&mut one, more) {
        one.extend(more);
    }
    one
}

/// A path in JSON, which has text alone.
pub fn path(path: &Path) -> String {
    path.display().to_string()
}

//! Other code in the place of a function's.

use xhint_bpf::Instruction;
use xhint_btf::Builder;

use crate::records::Records;
use crate::{Assembly, Error, Object};

impl Object {
    /// This object with `code` for the function `name`, whose own code goes, with its CO-RE relocations. The new code may
    /// name symbols of this object; its first instruction gets the old one's line, if it has none, since the kernel wants to
    /// know where each function begins.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; [`Error::JumpTable`]; faults of the code.
    pub fn replace(&self, name: &str, mut code: Vec<Instruction>) -> Result<Object, Error> {
        let found = self.functions().iter().find(|function| function.name == name);
        let function = found.ok_or_else(|| Error::NoFunction { name: name.to_owned() })?;
        let line = function.code.first().and_then(|instruction| instruction.line);
        code.iter_mut().take(1).for_each(|first| first.line = first.line.or(line));
        let (mut assembly, mut image, mut ext) = (Assembly::take(self)?, self.image().clone(), self.ext().clone());
        let bodies = assembly.sections.values_mut().flatten();
        bodies.filter(|body| body.symbol == function.symbol).for_each(|body| body.code.clone_from(&code));
        let mut btf = Builder::extend(self.btf());
        assembly.put(&mut image, &mut ext, |name| Ok(btf.string(name)?))?;
        let mut records = Records::default();
        records.add(&image, self, |symbol, core| (symbol != function.symbol).then_some((symbol, core)))?;
        records.put(&mut ext, &image, &mut btf)?;
        image.drop_debug();
        if let Some(number) = image.section_named(".BTF") {
            image.drop_relocations(number);
        }
        image.set_btf(btf.finish().into(), &ext)?;
        Object::parse(image.write()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xhint_bpf::{Emit, reg};
    use xhint_testkit::fixture::{self, Compile};
    use xhint_testkit::oracle;

    use super::*;

    /// A function between two with CO-RE relocations of their own.
    const SOURCE: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
struct net_device { int ifindex; unsigned mtu; } __attribute__((preserve_access_index));
static __attribute__((noinline)) int before(struct net_device *device) { return device ? BPF_CORE_READ(device, mtu) : 7; }
static __attribute__((noinline)) int stub(struct net_device *device) { return BPF_CORE_READ(device, ifindex); }
static __attribute__((noinline)) int behind(struct net_device *device) { return device ? BPF_CORE_READ(device, mtu) : 9; }
SEC("xdp") int all(struct xdp_md *ctx)
{
	struct net_device *device = (void *)(long)ctx->ingress_ifindex;
	return before(device) + stub(device) + behind(device);
}
char LICENSE[] SEC("license") = "GPL";
"#;

    #[test]
    fn the_rest_stays_as_it_was() {
        let path = Compile::new(&fixture::keep("replace", "bpf.c", SOURCE.as_bytes())).object();
        let object = Object::parse(fs::read(path).unwrap()).unwrap();
        let mut emit = Emit::new(object.order());
        emit.mov_imm(reg::R0, 5);
        emit.exit();
        let new = object.replace("stub", emit.finish()).unwrap();
        let code = |object: &Object, name: &str| {
            let function = object.functions().iter().find(|f| f.name == name).unwrap();
            function.code.iter().map(|i| (i.insn, i.named)).collect::<Vec<_>>()
        };
        assert_eq!(code(&new, "stub").len(), 2);
        for name in ["before", "behind"] {
            assert_eq!(code(&new, name), code(&object, name));
        }
        let places = |object: &Object, name: &str| {
            let own = object.relos().iter().filter(|relo| object.function_of(relo).name == name);
            own.map(|relo| (object.insn_number(relo), object.location(relo))).collect::<Vec<_>>()
        };
        assert!(places(&new, "stub").is_empty());
        for name in ["before", "behind"] {
            assert!(!places(&object, name).is_empty());
            assert_eq!(places(&new, name).len(), places(&object, name).len());
        }
        let base = fixture::corpus_path("vmlinux.btf");
        let relocated = |object: &Object| {
            let file = fixture::keep("replaced", "o", &object.image().write().unwrap());
            if xhint_testkit::privileged() {
                oracle::relocate(&file, Some(&base)).map(drop).map_err(|e| format!("{e:?}"))
            } else {
                Ok(())
            }
        };
        assert_eq!(relocated(&new), Ok(()));
    }

    #[test]
    fn a_function_that_is_not_there_is_named() {
        let path = Compile::new(&fixture::keep("replace", "bpf.c", SOURCE.as_bytes())).object();
        let object = Object::parse(fs::read(path).unwrap()).unwrap();
        let error = object.replace("other", Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "no function is called 'other'");
    }
}

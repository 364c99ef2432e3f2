//! The target spec: the local spec found again in a candidate.
//!
//! Only names and indices are taken over. Anonymous structs and unions of the target are looked into wherever a member
//! is wanted, however the local side nests them.

use xhint_btf::{Btf, Kind, Member, Type};
use xhint_layout::FieldAt;

use crate::spec::{Accessor, Spec, is_flexible};
use crate::{RelocKind, compat};

/// Levels of anonymous members.
const MAX_DEPTH: usize = 32;
/// Members looked at for one step; anonymous members that fan out at every level would otherwise never end.
const MAX_MEMBERS: u32 = 1 << 16;

/// A candidate, and by which rules it is matched.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) btf: &'a Btf,
    pub(crate) id: u32,
    /// It is the bound layout: byte order counts.
    pub(crate) layout: bool,
    /// Pointers of the layout count as there.
    pub(crate) walk: bool,
}

/// The target is nonsense: too deep, or its offsets do not fit.
pub(crate) type Nonsense = &'static str;

/// The target spec, or `None` if the target has nothing that fits.
pub(crate) fn find<'a>(
    local: &Btf,
    spec: &Spec<'_>,
    target: Target<'a>,
    kind: RelocKind,
) -> Result<Option<Spec<'a>>, Nonsense> {
    let deep = |_| "types nest too deeply to be compared";
    if kind.is_field() {
        return field(local, spec, target);
    }
    if kind.is_enumerator() {
        return Ok(enumerator(spec, target));
    }
    let fits = match kind {
        RelocKind::TypeMatches => {
            compat::matches((local, spec.root), (target.btf, target.id), target.layout, target.walk)
        }
        // The binding has settled that a layout is what was asked for, be it struct or typedef.
        _ if target.layout => Ok(true),
        _ => compat::types(local, spec.root, target.btf, target.id),
    };
    Ok(fits.map_err(deep)?.then(|| Spec::root(target.id)))
}

fn enumerator<'a>(spec: &Spec<'_>, target: Target<'a>) -> Option<Spec<'a>> {
    let ty = target.btf.skip_mods_and_typedefs(target.id);
    let wanted = xhint_btf::essential(spec.steps.first()?.name?);
    let fits = |name: &str| xhint_btf::essential(name) == wanted;
    let (index, found) = (0u32..).zip(ty.enumerators()).find(|(_, e)| fits(e.name))?;
    let step = Accessor { type_id: ty.id(), index, name: Some(found.name) };
    Some(Spec { root: target.id, steps: vec![step], bit_offset: 0 })
}

/// How far an access goes in a target.
#[derive(Debug)]
pub(crate) enum Way<T> {
    /// All the way.
    To(T),
    /// What it meets is of a type that does not fit.
    Unfit,
    /// No member has the name.
    Lacking,
}

fn field<'a>(local: &Btf, wanted: &Spec<'_>, target: Target<'a>) -> Result<Option<Spec<'a>>, Nonsense> {
    Ok(match by_names(local, wanted, target)? {
        Way::To(spec) => Some(spec),
        Way::Unfit | Way::Lacking => None,
    })
}

/// The local steps by their names, from the target on.
pub(crate) fn by_names<'a>(local: &Btf, wanted: &Spec<'_>, target: Target<'a>) -> Result<Way<Spec<'a>>, Nonsense> {
    Search { local, target, spec: Spec::root(target.id), left: MAX_MEMBERS }.go(wanted, target.id, 0)
}

/// The same where the first `done` local steps, a member the last of them, are the target's `field`, whatever that is called.
pub(crate) fn from_field<'a>(
    local: &Btf,
    wanted: &Spec<'_>,
    done: usize,
    target: Target<'a>,
    field: &FieldAt<'_>,
) -> Result<Way<Spec<'a>>, Nonsense> {
    let mut search = Search { local, target, spec: Spec::root(target.id), left: MAX_MEMBERS };
    let first = wanted.steps.first().ok_or("the local spec is empty")?;
    search.element(target.btf.skip_mods_and_typedefs(target.id), first.index, true)?;
    search.spec.skip_bits(u32::try_from(field.bit_offset).map_err(|_| "the field lies too far from the start")?)?;
    for &(of, index) in &field.steps {
        let member = target.btf.ty(of).and_then(|ty| ty.member(index)).ok_or("the target's member does not exist")?;
        search.spec.steps.push(Accessor { type_id: of, index, name: Some(member.name) });
    }
    let last = done.checked_sub(1).and_then(|n| wanted.steps.get(n)).ok_or("the local spec has no such step")?;
    if !search.fits(last, field.type_id)? {
        return Ok(Way::Unfit);
    }
    search.go(wanted, field.type_id, done)
}

struct Search<'l, 'a> {
    local: &'l Btf,
    target: Target<'a>,
    spec: Spec<'a>,
    left: u32,
}

impl<'a> Search<'_, 'a> {
    /// Follows the local steps but for the first `done`, from the type `id` on.
    fn go(mut self, wanted: &Spec<'_>, mut id: u32, done: usize) -> Result<Way<Spec<'a>>, Nonsense> {
        for (n, step) in wanted.steps.iter().enumerate().skip(done) {
            let ty = self.target.btf.skip_mods_and_typedefs(id);
            let way = match step.name {
                Some(name) => self.member(ty, step, name, 0)?,
                None => self.element(ty, step.index, n == 0)?.map_or(Way::Unfit, Way::To),
            };
            match way {
                Way::To(next) => id = next,
                Way::Unfit => return Ok(Way::Unfit),
                Way::Lacking => return Ok(Way::Lacking),
            }
        }
        let fits = !self.target.layout || self.readable(wanted, id);
        Ok(if fits { Way::To(self.spec) } else { Way::Unfit })
    }

    /// Finds the member `name` in `ty` or its anonymous members; yields its type.
    fn member(&mut self, ty: Type<'a>, step: &Accessor<'_>, name: &str, depth: usize) -> Result<Way<u32>, Nonsense> {
        if depth > MAX_DEPTH {
            return Err("anonymous members nest too deeply");
        }
        let btf = ty.btf();
        let mut way = Way::Lacking;
        for (index, named) in (0u32..).zip(ty.member_names()) {
            self.left = self.left.checked_sub(1).ok_or("anonymous members fan out beyond reason")?;
            let hit = btf.is_string(named, name);
            if !hit && !btf.is_string(named, "") {
                continue;
            }
            let Some(member) = ty.member(index) else { continue };
            if hit {
                return self.take(ty, index, member, step);
            }
            let before = self.spec.bit_offset;
            self.spec.skip_bits(member.bit_offset)?;
            let inner = self.target.btf.skip_mods_and_typedefs(member.type_id);
            match self.member(inner, step, name, depth.saturating_add(1))? {
                found @ Way::To(_) => return Ok(found),
                // As in libbpf, another anonymous member may have one that fits.
                Way::Unfit => way = Way::Unfit,
                Way::Lacking => {}
            }
            self.spec.bit_offset = before;
        }
        Ok(way)
    }

    /// The member has the right name: it is the one, or nothing is.
    fn take(
        &mut self,
        ty: Type<'a>,
        index: u32,
        member: Member<'a>,
        step: &Accessor<'_>,
    ) -> Result<Way<u32>, Nonsense> {
        if !self.fits(step, member.type_id)? {
            return Ok(Way::Unfit);
        }
        self.spec.skip_bits(member.bit_offset)?;
        self.spec.steps.push(Accessor { type_id: ty.id(), index, name: Some(member.name) });
        Ok(Way::To(member.type_id))
    }

    /// Whether the local member can be read where the target has the type `id`.
    fn fits(&self, step: &Accessor<'_>, id: u32) -> Result<bool, Nonsense> {
        let wanted = self.local.ty(step.type_id).and_then(|t| t.member(step.index));
        let wanted = wanted.ok_or("the local member does not exist")?;
        Ok(compat::fields(self.local, wanted.type_id, self.target.btf, id))
    }

    /// Goes to element `index`; at the start of a spec the elements are the root type itself.
    fn element(&mut self, ty: Type<'a>, index: u32, first: bool) -> Result<Option<u32>, Nonsense> {
        let elem = if first {
            ty.id()
        } else {
            let Some(array) = ty.array() else { return Ok(None) };
            if index >= array.len && !is_flexible(self.target.btf, &self.spec, array.len) {
                return Ok(None);
            }
            self.target.btf.skip_mods_and_typedefs(array.elem).id()
        };
        self.spec.steps.push(Accessor { type_id: elem, index, name: None });
        self.spec.advance(self.target.btf, elem, index)?;
        Ok(Some(elem))
    }

    /// Whether the layout's field at the end, of type `id`, can be read as the local one says: same byte order, and no
    /// pointer where pointers are of no use.
    fn readable(&self, wanted: &Spec<'_>, id: u32) -> bool {
        let (local, target) = (field_type(self.local, wanted), field_type(self.target.btf, &self.spec));
        let same_order = match (local, target) {
            (Some(l), Some(t)) => compat::same_order(self.local, l, self.target.btf, t),
            _ => true,
        };
        same_order && (self.target.walk || !is_pointer(self.target.btf, id))
    }
}

/// The type of the member at the end of a spec, before any index into it; the root's if there is none.
pub(crate) fn field_type(btf: &Btf, spec: &Spec<'_>) -> Option<u32> {
    let Some(step) = spec.steps.iter().rev().find(|s| s.name.is_some()) else { return Some(spec.root) };
    Some(btf.ty(step.type_id)?.member(step.index)?.type_id)
}

/// A pointer or an array of them.
pub(crate) fn is_pointer(btf: &Btf, mut id: u32) -> bool {
    for _ in 0..MAX_DEPTH {
        let ty = btf.skip_mods_and_typedefs(id);
        match ty.array() {
            Some(array) => id = array.elem,
            None => return ty.kind() == Kind::Ptr,
        }
    }
    false
}

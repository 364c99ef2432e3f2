use std::time::Instant;
fn main() {
    let p = std::path::Path::new(xhint_bench::KERNEL_BTF);
    for _ in 0..8 {
        let t = Instant::now();
        let b = xhint_bench::read(p);
        let t1 = t.elapsed();
        let mut s = 0u64;
        for c in b.chunks(4096) {
            s += c[0] as u64
        }
        let t2 = t.elapsed();
        let btf = xhint_btf::Btf::parse(b.clone()).unwrap();
        let t3 = t.elapsed();
        let t = Instant::now();
        let v = bytes::Bytes::from(std::fs::read(p).unwrap());
        let t4 = t.elapsed();
        let _btf2 = xhint_btf::Btf::parse(v).unwrap();
        let t5 = t.elapsed();
        println!("map {t1:?} touch {t2:?} parse {t3:?} | read {t4:?} parse {t5:?} {s} {}", btf.end_id());
    }
}

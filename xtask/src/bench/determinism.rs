//! What determinism costs: the same step as it is by default, with `stat = 'real`, and with everything `'real`.

use std::fmt::Write as _;

use super::{
    Bench, Row, SUITE, Stores,
    timing::{pair, seconds},
    write,
};

/// Programs of many kinds; each reads what the packages below it bring.
const WORK: [(&str, &str, &str); 5] = [
    (
        "gcc",
        "gcc -O2 of 2 files",
        "for i in 1 2; do gcc -O2 -DN=$i -c /input/big.c -o big$i.o; done",
    ),
    (
        "compileall",
        "python compileall",
        "cp -r /usr/lib/python3.11 lib; python3 -m compileall -q -f lib || true",
    ),
    (
        "configure",
        "configure and make",
        "autoreconf -i > log 2>&1; ./configure > log; make -s; make -s check > log 2>&1",
    ),
    (
        "loop",
        "fork and exec",
        "for i in $(seq 300); do echo $i | sed s/1/2/ | tr 2 3; expr $i + 1; done > out",
    ),
    (
        "tree",
        "tar, find, ls",
        "for i in 1 2 3; do tar cf - /usr/lib/python3 /usr/share | wc -c; find /usr -newer /bin/sh | wc -l; ls -lR /usr/lib | wc -l; done > out",
    ),
];

/// The ways, and what a step says for each.
const REAL: &str = "clock = 'real, entropy = 'real, stat = 'real,";
const WAYS: [(&str, &str); 3] = [("real", REAL), ("nostat", "stat = 'real,"), ("fixed", "")];

const ROUNDS: usize = 3;

pub(super) fn determinism(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("determinism")?;
    write(&project.join("input/big.c"), &big())?;
    write(&project.join("input/configure.ac"), CONFIGURE)?;
    write(&project.join("input/Makefile.am"), "bin_PROGRAMS = x\nx_SOURCES = x.c\nTESTS = x\n")?;
    write(&project.join("input/x.c"), "int main(void) { return 0; }\n")?;
    write(&project.join("spec.ncl"), &spec())?;
    let mut stores = Stores::new(bench.directory.join("stores/determinism"))?;
    let store = stores.next();
    bench.reimage(&project, &store, &["build", "steps.packages"])?;
    let mut round = 0;
    let mut time = |name: &str, way: &str| {
        round += 1;
        let step = format!("steps.{name}_{way}");
        let argument = format!("--arg=round={round}");
        seconds(|| bench.reimage(&project, &store, &["build", &step, &argument]))
    };
    let mut rows = Vec::new();
    for (name, work, _) in WORK {
        // The first lays out what it stands on.
        time(name, "real")?;
        for (way, what) in [("fixed", "by default"), ("nostat", "with `stat = 'real`")] {
            let both = std::cell::RefCell::new(&mut time);
            let (theirs, ours) =
                pair(ROUNDS, || both.borrow_mut()(name, "real"), || both.borrow_mut()(name, way))?;
            rows.push(Row { work, peer: "everything `'real`", theirs, what, ours });
        }
    }
    Ok(rows)
}

const CONFIGURE: &str = "AC_INIT([x], [1])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nAC_PROG_CXX\nAC_CONFIG_HEADERS([config.h])\n\
    AC_CHECK_HEADERS([stdio.h stdlib.h string.h unistd.h fcntl.h errno.h locale.h limits.h math.h])\n\
    AC_CHECK_FUNCS([fork vfork mmap munmap strdup memmove setlocale select poll getrandom])\n\
    AC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n";

/// A file that keeps a compiler busy for a while.
fn big() -> String {
    let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for number in 0..400 {
        let _ = writeln!(
            text,
            "int f{number}(const char *s, int n) {{ int r = N; for (int i = 0; i < n; i++) {{ if (s[i] > {number} % 64) r += s[i] * {number}; \
             else r ^= r << (i & 7); }} char b[64]; snprintf(b, sizeof b, \"%d %s\", r, s); return (int)strlen(b) + atoi(b); }}"
        );
    }
    text
}

fn spec() -> String {
    let mut text = format!(
        r#"let re = import "reimage.ncl" in
{{
  args = {{ round | doc "Makes each step another." | default = "0" }},
  steps = {{
    packages | re.Debian = {{ suite = "{SUITE}", packages = ["automake", "build-essential", "python3"] }},
    input | re.Copy = {{ from = re.local {{ path = "input" }}, to = "/input" }},
"#
    );
    for (name, _, commands) in WORK {
        for (way, says) in WAYS {
            let _ = writeln!(
                text,
                "    {name}_{way} | re.Run = {{ from = [packages, input], {says} env.ROUND = args.round, outputs = [\"/work/done\"], \
                 script = \"cp -r /input /work; cd /work; {commands}; echo > done\" }},"
            );
        }
    }
    text + "  },\n} | re.Spec\n"
}

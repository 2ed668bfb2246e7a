//! Instructions of AMD's cards, counted in the text that their compiler prints.
//!
//! Figures are of the loop with the most multiply-adds, in which a convolution spends its time; of
//! the whole text where no loop has any.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Serialize;

/// Instructions of the main loop by kind, and one kind in the whole text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Mix {
    /// Multiply-adds in single precision; an instruction of two counts twice.
    fma: usize,
    /// Vector instructions, those included.
    valu: usize,
    /// Of workgroup memory.
    lds_instructions: usize,
    /// Of buffers, by vectors.
    vmem: usize,
    /// Waits until all loads from buffers have arrived.
    full_waits: usize,
    /// Conversions to half precision that round towards zero, in the whole text.
    pub(crate) rounds_to_zero: usize,
}

impl Mix {
    /// Counts the instructions of a kernel.
    pub(crate) fn of(text: &str) -> Mix {
        let code = Code::parse(text);
        let all = 0..=code.blocks.len().saturating_sub(1);
        let loops = code.loops();
        let own = |span: &RangeInclusive<usize>| {
            let inside = |other: &&RangeInclusive<usize>| {
                *other != span && span.contains(other.start()) && span.contains(other.end())
            };
            let inner: Vec<_> = loops.iter().filter(inside).collect();
            let blocks = span
                .clone()
                .filter(|b| !inner.iter().any(|i| i.contains(b)));
            code.count(blocks)
        };
        let mixes = loops.iter().map(own);
        let main = mixes.max_by_key(|mix| mix.fma).filter(|mix| mix.fma > 0);
        let whole = code.count(all);
        Mix {
            rounds_to_zero: whole.rounds_to_zero,
            ..main.unwrap_or(whole)
        }
    }

    fn add(&mut self, instruction: &str) {
        let name = instruction.split_whitespace().next().unwrap_or_default();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if starts(&["v_dual_"]) {
            let halves = instruction.split("::").map(str::trim);
            let is_fma = |half: &&str| half.starts_with("v_dual_fma");
            self.fma += halves.filter(is_fma).count();
        } else if starts(&["v_pk_fma_f32"]) {
            self.fma += 2;
        } else if starts(&["v_fma_f32", "v_fmac_f32", "v_fmaak_f32", "v_fmamk_f32"])
            || starts(&["v_mac_f32", "v_mad_f32", "v_fma_mix", "v_mad_mix"])
        {
            self.fma += 1;
        }
        self.valu += usize::from(starts(&["v_"]));
        self.lds_instructions += usize::from(starts(&["ds_"]));
        self.vmem += usize::from(starts(&["buffer_", "global_", "flat_", "scratch_"]));
        let waits = name == "s_waitcnt" && instruction.contains("vmcnt(0)");
        let waits = waits || name == "s_wait_loadcnt" && instruction.ends_with("0x0");
        self.full_waits += usize::from(waits);
        self.rounds_to_zero += usize::from(starts(&["v_cvt_pkrtz_f16_f32", "v_cvt_pk_rtz_f16"]));
    }
}

/// Whether one of the driver's texts is for [`Mix::of`].
pub(crate) fn is_assembly(text: &str) -> bool {
    text.starts_with("== Assembly") && text.contains("s_endpgm")
}

/// Instructions by basic block, in the order of the text.
struct Code<'a> {
    blocks: Vec<Vec<&'a str>>,
    numbers: BTreeMap<&'a str, usize>,
}

impl<'a> Code<'a> {
    /// Blocks begin with a label such as `BB12:`; what follows a semicolon is the encoding.
    fn parse(text: &'a str) -> Code<'a> {
        let mut code = Code {
            blocks: Vec::new(),
            numbers: BTreeMap::new(),
        };
        for line in text.lines() {
            let line = line.split(';').next().unwrap_or_default().trim();
            match line
                .strip_suffix(':')
                .filter(|label| label.starts_with("BB"))
            {
                Some(label) => {
                    code.numbers.insert(label, code.blocks.len());
                    code.blocks.push(Vec::new());
                }
                None if line.is_empty() => {}
                None => code
                    .blocks
                    .last_mut()
                    .into_iter()
                    .for_each(|b| b.push(line)),
            }
        }
        code
    }

    /// The blocks of each loop: from the target of a backward branch to the last one that has it.
    fn loops(&self) -> Vec<RangeInclusive<usize>> {
        let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
        for (number, block) in self.blocks.iter().enumerate() {
            for instruction in block {
                let mut words = instruction.split_whitespace();
                let branch = words.next().unwrap_or_default();
                if !branch.starts_with("s_branch") && !branch.starts_with("s_cbranch") {
                    continue;
                }
                let target = words.next().and_then(|label| self.numbers.get(label));
                if let Some(start) = target.filter(|start| **start <= number) {
                    ends.insert(*start, number);
                }
            }
        }
        ends.into_iter().map(|(start, end)| start..=end).collect()
    }

    fn count(&self, blocks: impl Iterator<Item = usize>) -> Mix {
        let mut mix = Mix::default();
        let blocks = blocks.filter_map(|block| self.blocks.get(block));
        blocks
            .flatten()
            .for_each(|instruction| mix.add(instruction));
        mix
    }
}

/// A loop of loads around a loop of multiply-adds, a conversion before and a sum behind them.
#[test]
fn the_main_loop_is_counted() {
    let text = "== Assembly\nBB0:\n\tv_cvt_pkrtz_f16_f32 v0, v1, v2 ; 5e000501\n\
                BB1:\n\tbuffer_load_dwordx4 v[0:3], v8, s[4:7], 0 offen ; e0501000 80010008\n\
                \ts_waitcnt vmcnt(0) ; bf8c3f70\n\tds_write_b128 v9, v[0:3] ; d9bf0000\n\
                BB2:\n\tds_read_b128 v[0:3], v9 ; d9ff0000\n\tv_fmac_f32_e32 v4, v0, v1 ; 56080300\n\
                \tv_dual_fmac_f32 v5, v0, v1 :: v_dual_mov_b32 v6, 0 ; c8\n\
                \tv_dual_fmac_f32 v5, v0, v1 :: v_dual_fmac_f32 v6, v0, v1 ; c8\n\
                \tv_add_u32_e32 v9, 16, v9 ; 68121290\n\ts_cbranch_scc1 BB2 ; bf85fff0\n\
                BB3:\n\ts_cbranch_scc0 BB1 ; bf84ffe0\nBB4:\n\tv_add_f32 v0, v0, v1\n\ts_endpgm\n";
    assert!(is_assembly(text));
    let expected = Mix {
        fma: 4,
        valu: 4,
        lds_instructions: 1,
        vmem: 0,
        full_waits: 0,
        rounds_to_zero: 1,
    };
    assert_eq!(Mix::of(text), expected);
    let straight = text.replace("BB2 ;", "BB4 ;").replace("BB1 ;", "BB4 ;");
    let expected = Mix {
        valu: 6,
        lds_instructions: 2,
        vmem: 1,
        full_waits: 1,
        ..expected
    };
    assert_eq!(Mix::of(&straight), expected);
}

//! The cards whose compilers `cargo xtask isa` runs, and their drivers' words for the same things.

use std::path::Path;
use std::process::Command;

use crate::mesa::Mesa;

/// A card that need not be here.
pub(crate) struct Card {
    /// Its name on the command line and in the tables.
    pub(crate) name: &'static str,
    /// For the user.
    pub(crate) what: &'static str,
    /// The Vulkan driver, and the kernel's driver that it expects.
    driver: &'static str,
    kernel_driver: &'static str,
    /// The variable that selects the card in the stand-in of the kernel's driver.
    selection: [&'static str; 2],
    /// Whether `cargo xtask test` compiles for it: the others are like one that it does.
    pub(crate) tested: bool,
}

const fn amd(name: &'static str, what: &'static str) -> Card {
    Card {
        name,
        what,
        driver: "radeon",
        kernel_driver: "amdgpu",
        selection: ["AMDGPU_GPU_ID", name],
        tested: true,
    }
}

const fn nvidia(name: &'static str, what: &'static str, chip: &'static str, tested: bool) -> Card {
    Card {
        name,
        what,
        driver: "nouveau",
        kernel_driver: "nouveau",
        selection: ["NOUVEAU_CHIPSET", chip],
        tested,
    }
}

/// All of them; those that compile longest come first, so that two processes end together.
pub(crate) const CARDS: [Card; 7] = [
    nvidia("turing", "NVIDIA, RTX 20 (NVK)", "0x162", true),
    nvidia("ampere", "NVIDIA, RTX 30 (NVK)", "0x172", false),
    Card {
        name: "m1",
        what: "Apple M1 (Honeykrisp)",
        driver: "asahi",
        kernel_driver: "asahi",
        // There is one card.
        selection: ["ASAHI_GPU", "m1"],
        tested: true,
    },
    Card {
        name: "a730",
        what: "Qualcomm Adreno 730 (Turnip)",
        driver: "freedreno",
        kernel_driver: "freedreno",
        selection: ["FD_GPU_ID", "730"],
        tested: true,
    },
    amd("vega20", "AMD Radeon VII, GCN 5 (RADV)"),
    amd("navi21", "AMD Radeon RX 6800, RDNA 2 (RADV)"),
    amd("navi31", "AMD Radeon RX 7900, RDNA 3 (RADV)"),
];

impl Card {
    /// The card of a name.
    pub(crate) fn named(name: &str) -> Option<&'static Card> {
        CARDS.iter().find(|card| card.name == name)
    }

    /// A program that sees this card as its only one.
    pub(crate) fn command(&self, mesa: &Mesa, program: &Path) -> Command {
        let [variable, value] = self.selection;
        let mut command = Command::new(mesa.linker());
        command
            .args(mesa.libraries())
            .args(mesa.stand_in(self.kernel_driver))
            .arg(program)
            .env("VK_DRIVER_FILES", mesa.driver(self.driver))
            .env(variable, value)
            // The time of a run should not depend on those before it.
            .env("MESA_SHADER_CACHE_DISABLE", "true");
        command
    }
}

/// The figures of a kernel, in the order of the table's columns; each with the drivers' names for
/// it, whose values are added. The last ones are counted in AMD's instructions.
pub(crate) const FIGURES: [(&str, &[&str]); 13] = [
    (
        "registers",
        &["VGPRs", "Number of GPRs", "GPRs", "Registers used"],
    ),
    (
        "spills",
        &[
            "Spilled VGPRs",
            "Spilled SGPRs",
            "Spills to memory",
            "Spills",
            "STP Count",
        ],
    ),
    ("lds", &["LDS size"]),
    (
        "occupancy",
        &[
            "Subgroups per SIMD",
            "Max warps/SM",
            "Threads",
            "Max Waves Per Core",
        ],
    ),
    (
        "instructions",
        &["Instructions", "Instruction count", "Instruction Count"],
    ),
    ("latency", &["Latency", "Static cycle count"]),
    ("inverse_throughput", &["Inverse Throughput", "ALU"]),
    ("fma", &[]),
    ("valu", &[]),
    ("lds_instructions", &[]),
    ("vmem", &[]),
    ("full_waits", &[]),
    ("rounds_to_zero", &[]),
];

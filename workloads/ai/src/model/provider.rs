use std::fmt;

/// Where the encoder runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Provider {
    /// The processor, with products in 8-bit integers.
    #[default]
    Cpu,
    /// The processor, with the float32 graph that a GPU runs: slower; to compare.
    CpuFloat,
    /// An NVIDIA GPU; the processor where there is none.
    Cuda,
}

/// How the encoder multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// In 8-bit integers. The activations' rounding depends on all that runs together, so that a post in company would get a slightly different answer:
    /// posts go through one by one. A processor has nothing to gain from more.
    Int8,
    /// In float32, where a post's answer does not depend on its company: posts go through in batches.
    Float,
}

impl Provider {
    pub const fn precision(self) -> Precision {
        match self {
            Self::Cpu => Precision::Int8,
            Self::CpuFloat | Self::Cuda => Precision::Float,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuFloat => "cpu-float",
            Self::Cuda => "cuda",
        }
    }
}

impl Precision {
    /// The graph's file in the model folder.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Int8 => "encoder.onnx",
            Self::Float => "encoder-float.onnx",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

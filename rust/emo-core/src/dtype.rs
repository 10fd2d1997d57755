//! Element types of stored tensors, and the three floating types that kernels read.

macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal),* $(,)?) => {
        /// Element type of a safetensors tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the name in the file format")]
        #[allow(non_camel_case_types, reason = "each variant is the name in the file format")]
        pub enum Dtype { $($variant),* }

        impl Dtype {
            /// Every type of the file format.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name in the file format.
            ///
            /// ```
            /// use emo_core::dtype::Dtype;
            /// assert_eq!(Dtype::BF16.name(), "BF16");
            /// ```
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Bits of one element.
            #[must_use]
            pub fn bits(self) -> u64 {
                match self { $(Self::$variant => $bits),* }
            }
        }
    };
}

dtypes! {
    BOOL "BOOL" 8, U8 "U8" 8, I8 "I8" 8, F8_E4M3 "F8_E4M3" 8, F8_E5M2 "F8_E5M2" 8, F8_E8M0 "F8_E8M0" 8,
    F4 "F4" 4, F6_E2M3 "F6_E2M3" 6, F6_E3M2 "F6_E3M2" 6,
    I16 "I16" 16, U16 "U16" 16, F16 "F16" 16, BF16 "BF16" 16,
    I32 "I32" 32, U32 "U32" 32, F32 "F32" 32,
    I64 "I64" 64, U64 "U64" 64, F64 "F64" 64, C64 "C64" 64,
}

impl Dtype {
    /// The type with this name in the file format.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.name() == name)
    }

    /// The floating type that kernels read, if this is one.
    #[must_use]
    pub fn float(self) -> Option<Float> {
        match self {
            Self::BF16 => Some(Float::Bf16),
            Self::F16 => Some(Float::F16),
            Self::F32 => Some(Float::F32),
            _ => None,
        }
    }
}

/// Floating types that kernels read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// Upper half of an IEEE single.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
}

impl Float {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Convert little-endian elements exactly; `out` is as long as there are elements.
    ///
    /// ```
    /// use emo_core::dtype::Float;
    /// let mut out = [0.0; 2];
    /// Float::Bf16.decode(&[0x80, 0x3f, 0x00, 0xc0], &mut out);
    /// assert_eq!(out, [1.0, -2.0]);
    /// ```
    #[inline(always)]
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::Bf16 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes(*raw)) << 16);
                }
            }
            Self::F16 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = half_to_single(u16::from_le_bytes(*raw));
                }
            }
            Self::F32 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*raw);
                }
            }
        }
    }
}

/// Exact value of an IEEE half, without a branch: move the exponent by a product with 2^112, which
/// is exact for subnormal halves too, and keep infinities and NaNs apart.
#[inline(always)]
fn half_to_single(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn names_are_read_back() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::from_name(dtype.name()), Some(*dtype));
        }
        assert_eq!(Dtype::from_name("bf16"), None);
    }

    #[test]
    fn every_half_converts_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let mut out = [0.0f32; 1];
            Float::Bf16.decode(&bits.to_le_bytes(), &mut out);
            assert_eq!(out[0].to_bits(), u32::from(bits) << 16);
            Float::F16.decode(&bits.to_le_bytes(), &mut out);
            let wanted = f16::from_bits(bits).to_f32();
            assert!(out[0].to_bits() == wanted.to_bits() || (out[0].is_nan() && wanted.is_nan()));
        }
    }
}

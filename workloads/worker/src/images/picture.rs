//! Decodes an image to verify it, and makes its thumbnails.
//!
//! Pure, but CPU-bound: it runs on blocking threads.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder};

/// Longest sides of the thumbnails, in pixels. Images are never enlarged.
pub const THUMBNAILS: [u32; 2] = [320, 64];
/// Most pixels of an image.
const MAX_PIXELS: u64 = 16_000_000;
/// Most bytes that the decoder may allocate.
const MAX_DECODER_BYTES: u64 = 96 * 1024 * 1024;
/// JPEG quality of thumbnails, 1 to 100.
const QUALITY: u8 = 82;

/// A decoded image.
#[derive(Debug)]
pub struct Picture {
    pub format: Format,
    /// Pixels, after the EXIF orientation is applied.
    pub width: u32,
    pub height: u32,
    /// The longest side and the JPEG bytes, one per entry of [`THUMBNAILS`].
    pub thumbnails: Vec<(u32, Vec<u8>)>,
}

/// Accepted formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
}

impl Format {
    fn of(format: ImageFormat) -> Option<Self> {
        match format {
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::Gif => Some(Self::Gif),
            ImageFormat::WebP => Some(Self::WebP),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::WebP => "webp",
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            other => other.name(),
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }
}

/// Decodes `bytes` and makes the thumbnails. The format is detected from the bytes, whatever
/// content type the server sent.
///
/// # Errors
/// A stable code: `not-an-image`, `corrupt` or `too-many-pixels`.
pub fn decode(bytes: &[u8]) -> Result<Picture, &'static str> {
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| "not-an-image");
    let format = reader()?.format().and_then(Format::of).ok_or("not-an-image")?;
    let (width, height) = reader()?.into_dimensions().map_err(|_| "corrupt")?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err("too-many-pixels");
    }
    if format == Format::Jpeg && !has_end(bytes) {
        return Err("corrupt");
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = reader()?;
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| "corrupt")?;
    let orientation = decoder.orientation().map_err(|_| "corrupt")?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|_| "corrupt")?;
    image.apply_orientation(orientation);
    let thumbnails =
        THUMBNAILS.iter().map(|&side| Ok((side, thumbnail(&image, side)?))).collect::<Result<_, &'static str>>()?;
    Ok(Picture { format, width: image.width(), height: image.height(), thumbnails })
}

/// Whether a JPEG has an end marker. The decoder does not fail on truncated files.
fn has_end(bytes: &[u8]) -> bool {
    // After the start of the last scan only restart markers and the end marker follow. Embedded
    // thumbnails have end markers of their own, but they are before it.
    let scan = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]);
    scan.is_some_and(|scan| bytes[scan..].windows(2).any(|pair| pair == [0xff, 0xd9]))
}

fn thumbnail(image: &DynamicImage, side: u32) -> Result<Vec<u8>, &'static str> {
    let small = if image.width() <= side && image.height() <= side {
        image.to_rgb8()
    } else {
        image.thumbnail(side, side).to_rgb8()
    };
    let mut bytes = Vec::new();
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY)).map_err(|_| "corrupt")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "any colours")]
    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).expect("encodes");
        bytes.into_inner()
    }

    fn sizes(picture: &Picture) -> Vec<(u32, u32)> {
        let size = |bytes: &[u8]| image::load_from_memory(bytes).map(|image| (image.width(), image.height()));
        picture.thumbnails.iter().map(|(_, bytes)| size(bytes).expect("decodes")).collect()
    }

    #[test]
    fn thumbnails_fit_and_keep_their_aspect_ratio() {
        let picture = decode(&encoded(640, 480, ImageFormat::Jpeg)).expect("an image");
        assert_eq!((picture.format, picture.width, picture.height), (Format::Jpeg, 640, 480));
        assert_eq!(sizes(&picture), [(320, 240), (64, 48)]);
        let tall = decode(&encoded(10, 4000, ImageFormat::Png)).expect("an image");
        assert_eq!(sizes(&tall), [(1, 320), (1, 64)]);
    }

    #[test]
    fn small_images_are_not_enlarged() {
        let picture = decode(&encoded(100, 50, ImageFormat::Png)).expect("an image");
        assert_eq!(sizes(&picture), [(100, 50), (64, 32)]);
    }

    #[test]
    fn non_image_is_refused() {
        assert_eq!(decode(b"").expect_err("nothing"), "not-an-image");
        assert_eq!(decode(b"<html>not found</html>").expect_err("a page"), "not-an-image");
        assert_eq!(decode(b"BM\x00\x00").expect_err("a bitmap"), "not-an-image");
    }

    #[test]
    fn truncated_image_is_refused() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let whole = encoded(200, 100, format);
            for share in [10, 50, 90, 99] {
                let cut = &whole[..whole.len() * share / 100];
                assert!(decode(cut).is_err(), "{format:?} cut to {share} %");
            }
        }
    }

    #[test]
    fn decompression_bomb_is_refused_before_decoding() {
        let mut bomb = encoded(8, 8, ImageFormat::Png);
        // The header now claims 65,535 by 65,535 pixels; its checksum is updated.
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let checksum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(decode(&bomb).expect_err("a bomb"), "too-many-pixels");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}

//! Verifies an image by decoding it, and makes its thumbnails. Pure, and heavy: not for async threads.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder};

/// Sides of the thumbnails, in pixels; an image is fitted in and never enlarged.
pub const THUMBNAILS: [u32; 2] = [320, 64];
/// Pixels of an image that is decoded at all.
const PIXELS: u64 = 16_000_000;
/// Bytes that decoding may take.
const DECODING_BYTES: u64 = 96 * 1024 * 1024;
const QUALITY: u8 = 82;

/// An image that is what it claims to be.
#[derive(Debug)]
pub struct Picture {
    pub format: Format,
    /// As shown, that is after the turn that a camera noted.
    pub width: u32,
    pub height: u32,
    /// JPEGs, one for each of [`THUMBNAILS`].
    pub thumbnails: Vec<(u32, Vec<u8>)>,
}

/// The formats that are accepted.
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

/// Reads `bytes`; the error is a stable code. The server's word about the content type is not asked for.
pub fn read(bytes: &[u8]) -> Result<Picture, &'static str> {
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| "not-an-image");
    let format = reader()?.format().and_then(Format::of).ok_or("not-an-image")?;
    let (width, height) = reader()?.into_dimensions().map_err(|_| "corrupt")?;
    if u64::from(width) * u64::from(height) > PIXELS {
        return Err("too-many-pixels");
    }
    if format == Format::Jpeg && !has_end(bytes) {
        return Err("corrupt");
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODING_BYTES);
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

/// Whether a JPEG's end marker is there: the decoder fills up what a cut file lacks.
fn has_end(bytes: &[u8]) -> bool {
    // After the last scan begins, only the end marker and restart markers may follow; thumbnails inside the header lie before it.
    let scan = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]);
    scan.is_some_and(|scan| bytes[scan..].windows(2).any(|pair| pair == [0xff, 0xd9]))
}

fn thumbnail(image: &DynamicImage, side: u32) -> Result<Vec<u8>, &'static str> {
    let small = match image.width() <= side && image.height() <= side {
        true => image.to_rgb8(),
        false => image.thumbnail(side, side).to_rgb8(),
    };
    let mut bytes = Vec::new();
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY)).map_err(|_| "corrupt")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

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
    fn thumbnails_fit_and_keep_the_shape() {
        let picture = read(&encoded(640, 480, ImageFormat::Jpeg)).expect("an image");
        assert_eq!((picture.format, picture.width, picture.height), (Format::Jpeg, 640, 480));
        assert_eq!(sizes(&picture), [(320, 240), (64, 48)]);
        let tall = read(&encoded(10, 4000, ImageFormat::Png)).expect("an image");
        assert_eq!(sizes(&tall), [(1, 320), (1, 64)]);
    }

    #[test]
    fn small_images_are_not_enlarged() {
        let picture = read(&encoded(100, 50, ImageFormat::Png)).expect("an image");
        assert_eq!(sizes(&picture), [(100, 50), (64, 32)]);
    }

    #[test]
    fn what_is_not_an_image_is_refused() {
        assert_eq!(read(b"").expect_err("nothing"), "not-an-image");
        assert_eq!(read(b"<html>not found</html>").expect_err("a page"), "not-an-image");
        assert_eq!(read(b"BM\x00\x00").expect_err("a bitmap"), "not-an-image");
    }

    #[test]
    fn every_cut_is_noticed() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let whole = encoded(200, 100, format);
            for share in [10, 50, 90, 99] {
                let cut = &whole[..whole.len() * share / 100];
                assert!(read(cut).is_err(), "{format:?} cut to {share} %");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decoded() {
        let mut bomb = encoded(8, 8, ImageFormat::Png);
        // Width and height in the header, which then claims 65,535 pixels each way; its checksum follows the claim.
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let checksum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(read(&bomb).expect_err("a bomb"), "too-many-pixels");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}

using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Transforms;

/// <summary>A column of pictures, read row by row: MLImage, a path as text, or the bytes of a picture file.</summary>
sealed class ImageColumn : IDisposable
{
    readonly DataViewRow _row;
    readonly string _name;
    readonly Func<Func<RgbImage>> _take;
    readonly Action<IncrementalHash> _append;
    MLImage? _image;

    public ImageColumn(DataViewRow row, string name, string? folder)
    {
        (_row, _name) = (row, name);
        DataViewSchema.Column column = Columns.FindImages(row.Schema, name);
        (_take, _append) = column.Type switch
        {
            ImageDataViewType => Images(row.GetGetter<MLImage>(column)),
            TextDataViewType => Paths(row.GetGetter<ReadOnlyMemory<char>>(column), folder),
            _ => Files(row.GetGetter<VBuffer<byte>>(column)),
        };
    }

    /// <summary>Takes the current row's picture, to be decoded later, on any thread.</summary>
    /// <returns>Decodes it; throws <see cref="InvalidDataException"/>, which names row and column, where it cannot be
    /// read.</returns>
    /// <exception cref="InvalidDataException">It is missing; the message names row and column.</exception>
    public Func<RgbImage> Take()
    {
        long row = _row.Position;
        Func<RgbImage> decode = Guard(row, _take);
        return () => Guard(row, decode);
    }

    /// <summary>Adds the bytes that the current row's picture is made of to a hash, without decoding it.</summary>
    /// <exception cref="InvalidDataException">It is missing or cannot be read; the message names row and column.</exception>
    public void AppendTo(IncrementalHash hash) => Guard(_row.Position, () =>
    {
        _append(hash);
        return true;
    });

    T Guard<T>(long row, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or NotSupportedException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"row {row}, column '{_name}': the picture cannot be read: {e.Message}", e);
        }
    }

    (Func<Func<RgbImage>>, Action<IncrementalHash>) Images(ValueGetter<MLImage> getter)
    {
        RgbImage Next()
        {
            getter(ref _image!);
            return _image is null ? throw Missing() : Pixels(_image);
        }
        Func<RgbImage> Copied()
        {
            RgbImage picture = Next(); // the next row's takes the place of this one's
            return () => picture;
        }
        void AppendPixels(IncrementalHash hash)
        {
            RgbImage picture = Next();
            hash.AppendData(BitConverter.GetBytes(picture.Width));
            Append(hash, picture.Pixels);
        }
        return (Copied, AppendPixels);
    }

    static (Func<Func<RgbImage>>, Action<IncrementalHash>) Paths(ValueGetter<ReadOnlyMemory<char>> getter, string? folder)
    {
        ReadOnlyMemory<char> path = default;
        string Next()
        {
            getter(ref path);
            return path.IsEmpty ? throw Missing() : folder is null ? path.ToString() : Path.Combine(folder, path.ToString());
        }
        return (() => Later(Next()), hash => Append(hash, File.ReadAllBytes(Next())));

        static Func<RgbImage> Later(string file) => () => ImageDecoder.Decode(file);
    }

    static (Func<Func<RgbImage>>, Action<IncrementalHash>) Files(ValueGetter<VBuffer<byte>> getter)
    {
        VBuffer<byte> file = default;
        byte[] Next()
        {
            getter(ref file);
            return file.Length == 0 ? throw Missing() : [.. file.DenseValues()];
        }
        return (() => Later(Next()), hash => Append(hash, Next()));

        static Func<RgbImage> Later(byte[] bytes) => () => ImageDecoder.Decode(bytes, "the encoded picture");
    }

    /// <summary>Length and bytes, so that no two rows of pictures give the same bytes.</summary>
    static void Append(IncrementalHash hash, ReadOnlySpan<byte> bytes)
    {
        hash.AppendData(BitConverter.GetBytes((long)bytes.Length));
        hash.AppendData(bytes);
    }

    static InvalidDataException Missing() => new("there is none: the column is empty in this row.");

    /// <summary>The pixels of an MLImage where they lie, [H, W, 4].</summary>
    /// <param name="image">The picture.</param>
    /// <param name="blueFirst">True for blue, green, red; false for red, green, blue.</param>
    /// <exception cref="NotSupportedException">It has another number of bits a pixel than 32.</exception>
    public static ReadOnlySpan<byte> Pixels(MLImage image, out bool blueFirst)
    {
        if (image.BitsPerPixel != 32)
            throw new NotSupportedException($"an MLImage of {image.BitsPerPixel} bits a pixel is not read; 32 are.");
        blueFirst = image.PixelFormat == MLPixelFormat.Bgra32;
        return image.Pixels;
    }

    /// <summary>The pixels of an MLImage, [H, W, 4] in either order -> [H, W, 3].</summary>
    public static RgbImage Pixels(MLImage image)
    {
        ReadOnlySpan<byte> source = Pixels(image, out bool blueFirst);
        int pixels = image.Width * image.Height;
        var rgb = new byte[3 * pixels];
        (int red, int blue) = blueFirst ? (2, 0) : (0, 2);
        for (int i = 0; i < pixels; i++)
        {
            rgb[3 * i] = source[4 * i + red];
            rgb[3 * i + 1] = source[4 * i + 1];
            rgb[3 * i + 2] = source[4 * i + blue];
        }
        return new(image.Width, image.Height, rgb);
    }

    /// <summary>Frees the last picture.</summary>
    public void Dispose() => _image?.Dispose();
}

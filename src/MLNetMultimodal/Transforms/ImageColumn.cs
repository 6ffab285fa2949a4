using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Transforms;

/// <summary>A column of pictures, read row by row and decoded on the spot: MLImage, a path as text, or the bytes of a picture
/// file.</summary>
sealed class ImageColumn : IDisposable
{
    readonly DataViewRow _row;
    readonly string _name;
    readonly Func<RgbImage> _read;
    readonly Action<IncrementalHash> _append;
    MLImage? _image;

    public ImageColumn(DataViewRow row, string name, string? folder)
    {
        (_row, _name) = (row, name);
        DataViewSchema.Column column = Columns.Find(row.Schema, name);
        Columns.CheckImages(name, Columns.ItemType(column), Columns.IsVector(column));
        (_read, _append) = column.Type switch
        {
            ImageDataViewType => Images(row.GetGetter<MLImage>(column)),
            TextDataViewType => Paths(row.GetGetter<ReadOnlyMemory<char>>(column), folder),
            _ => Files(row.GetGetter<VBuffer<byte>>(column)),
        };
    }

    /// <summary>The picture of the current row.</summary>
    /// <exception cref="InvalidDataException">It is missing or cannot be read; the message names row and column.</exception>
    public RgbImage Read() => Guard(_read);

    /// <summary>Adds the bytes that the current row's picture is made of to a hash, without decoding it.</summary>
    /// <exception cref="InvalidDataException">It is missing or cannot be read; the message names row and column.</exception>
    public void AppendTo(IncrementalHash hash) => Guard(() =>
    {
        _append(hash);
        return true;
    });

    T Guard<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or NotSupportedException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"row {_row.Position}, column '{_name}': the picture cannot be read: {e.Message}", e);
        }
    }

    (Func<RgbImage>, Action<IncrementalHash>) Images(ValueGetter<MLImage> getter)
    {
        MLImage Next()
        {
            getter(ref _image!);
            return _image ?? throw Missing();
        }
        void AppendPixels(IncrementalHash hash)
        {
            RgbImage picture = Pixels(Next());
            hash.AppendData(BitConverter.GetBytes(picture.Width));
            Append(hash, picture.Pixels);
        }
        return (() => Pixels(Next()), AppendPixels);
    }

    static (Func<RgbImage>, Action<IncrementalHash>) Paths(ValueGetter<ReadOnlyMemory<char>> getter, string? folder)
    {
        ReadOnlyMemory<char> path = default;
        string Next()
        {
            getter(ref path);
            return path.IsEmpty ? throw Missing() : folder is null ? path.ToString() : Path.Combine(folder, path.ToString());
        }
        return (() => ImageDecoder.Decode(Next()), hash => Append(hash, File.ReadAllBytes(Next())));
    }

    static (Func<RgbImage>, Action<IncrementalHash>) Files(ValueGetter<VBuffer<byte>> getter)
    {
        VBuffer<byte> file = default;
        byte[] Next()
        {
            getter(ref file);
            return file.Length == 0 ? throw Missing() : [.. file.DenseValues()];
        }
        return (() => ImageDecoder.Decode(Next(), "the encoded picture"), hash => Append(hash, Next()));
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
        if (image.BitsPerPixel != 32) throw new NotSupportedException($"an MLImage of {image.BitsPerPixel} bits a pixel is not read; 32 are.");
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

using System.Buffers;

namespace MLNetMultimodal.Media.Images;

/// <summary>Pixels that lie somewhere: in an array, in rented memory, in another library's picture.</summary>
/// <param name="bytes">[H, W, channels], 8 bits each.</param>
/// <param name="width">W, in pixels.</param>
/// <param name="height">H, in pixels.</param>
/// <param name="channels">3, or 4 of which the last does not count.</param>
readonly ref struct PixelView(ReadOnlySpan<byte> bytes, int width, int height, int channels)
{
    public ReadOnlySpan<byte> Bytes { get; } = bytes;

    public int Width => width;

    public int Height => height;

    public int Channels => channels;

    public static PixelView Of(RgbImage image) => new(image.Pixels, image.Width, image.Height, 3);

    /// <summary>[H, W, 3] in an array of its own.</summary>
    public RgbImage ToImage() => new(width, height, Bytes.ToArray());
}

/// <summary>Pixels in rented memory, [H, W, channels], not cleared; <see cref="Dispose"/> gives it back.</summary>
readonly struct PixelBuffer : IDisposable
{
    /// <summary>Larger buffers are not kept for the next picture: most never come again.</summary>
    const int MostKept = 1 << 26;

    readonly byte[] _bytes;
    readonly int _length;

    public PixelBuffer(int width, int height, int channels)
    {
        (Width, Height, Channels, _length) = (width, height, channels, checked(width * height * channels));
        _bytes = _length > MostKept ? new byte[_length] : ArrayPool<byte>.Shared.Rent(_length);
    }

    public int Width { get; }

    public int Height { get; }

    public int Channels { get; }

    public Span<byte> Bytes => _bytes.AsSpan(0, _length);

    public PixelView View => new(Bytes, Width, Height, Channels);

    public void Dispose()
    {
        if (_bytes is not null && _length <= MostKept) ArrayPool<byte>.Shared.Return(_bytes);
    }
}

using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace MLNetMultimodal.Media.Audio;

enum SampleKind { Unsigned8, Signed, Float, ALaw, MuLaw }

// How a sample lies in a file: container bytes, the value in its highest bits.
readonly record struct PcmEncoding(SampleKind Kind, int Bytes, bool BigEndian = false);

// Uncompressed samples, from where the stream stands on.
sealed class PcmAudioReader : AudioReader
{
    const int BufferMoments = 4096;

    readonly Stream _stream;
    readonly PcmEncoding _encoding;
    readonly bool _leaveOpen;
    readonly CancellationToken _cancellation;
    readonly byte[] _bytes;
    readonly float[]? _companded; // what A-law or mu-law bytes mean
    readonly bool _isCounted;
    long _left;                   // bytes; where they are not counted, all until the stream ends
    long _momentsRead;

    public PcmAudioReader(Stream stream, string name, int sampleRateHz, int channels, PcmEncoding encoding, long? bytes,
        bool leaveOpen, CancellationToken cancellation) : base(name, sampleRateHz, channels)
    {
        (_stream, _encoding, _leaveOpen, _cancellation) = (stream, encoding, leaveOpen, cancellation);
        _bytes = new byte[BufferMoments * MomentBytes];
        (_isCounted, _left) = (bytes is not null, bytes is { } counted ? counted / MomentBytes * MomentBytes : long.MaxValue);
        _companded = encoding.Kind is SampleKind.ALaw or SampleKind.MuLaw ? Companded(encoding.Kind) : null;
    }

    int MomentBytes => Channels * _encoding.Bytes;

    public override int Read(Span<float> interleaved)
    {
        if (interleaved.Length < Channels)
            throw new ArgumentException($"interleaved must have room for {Channels} values, but has {interleaved.Length}.",
                nameof(interleaved));
        _cancellation.ThrowIfCancellationRequested();
        int wanted = (int)Math.Min(Math.Min(interleaved.Length / Channels, BufferMoments) * (long)MomentBytes, _left);
        int got = _stream.ReadAtLeast(_bytes.AsSpan(0, wanted), wanted, throwOnEndOfStream: false);
        if (got < wanted && _isCounted)
            throw new InvalidDataException($"'{Name}' is cut off: its header claims {_left - got} bytes of sound " +
                "more than there are.");
        _cancellation.ThrowIfCancellationRequested();
        int samples = got / MomentBytes * Channels;
        _left -= got;
        Convert(_bytes.AsSpan(0, samples * _encoding.Bytes), interleaved[..samples]);
        if (_encoding.Kind == SampleKind.Float && samples > 0 && !TensorPrimitives.IsFiniteAll<float>(interleaved[..samples]))
            ThrowNotFinite(interleaved[..samples]);
        _momentsRead += samples / Channels;
        return samples;
    }

    protected override void Dispose(bool disposing)
    {
        if (!_leaveOpen)
            _stream.Dispose();
        base.Dispose(disposing);
    }

    void ThrowNotFinite(ReadOnlySpan<float> samples)
    {
        int at = 0;
        while (float.IsFinite(samples[at]))
            at++;
        throw new InvalidDataException($"'{Name}' is damaged: sample {_momentsRead + at / Channels} of channel {at % Channels} " +
            $"is {samples[at]}.");
    }

    void Convert(Span<byte> bytes, Span<float> samples)
    {
        if (_encoding.BigEndian && _encoding.Bytes > 1)
            SwapBytes(bytes);
        switch (_encoding)
        {
            case { Kind: SampleKind.Unsigned8 }:
                TensorPrimitives.ConvertTruncating<byte, float>(bytes, samples);
                TensorPrimitives.Subtract(samples, 128, samples);
                TensorPrimitives.Multiply(samples, 1f / 128, samples);
                break;
            case { Kind: SampleKind.Signed, Bytes: 1 }:
                Scale(MemoryMarshal.Cast<byte, sbyte>(bytes), samples, 1f / 128);
                break;
            case { Kind: SampleKind.Signed, Bytes: 2 }:
                Scale(MemoryMarshal.Cast<byte, short>(bytes), samples, 1f / 32768);
                break;
            case { Kind: SampleKind.Signed, Bytes: 3 }:
                for (int i = 0; i < samples.Length; i++)
                    samples[i] = ((bytes[3 * i] << 8 | bytes[3 * i + 1] << 16 | bytes[3 * i + 2] << 24) >> 8) / 8388608f;
                break;
            case { Kind: SampleKind.Signed, Bytes: 4 }:
                Scale(MemoryMarshal.Cast<byte, int>(bytes), samples, 1f / 2147483648);
                break;
            case { Kind: SampleKind.Float, Bytes: 4 }:
                MemoryMarshal.Cast<byte, float>(bytes).CopyTo(samples);
                break;
            case { Kind: SampleKind.Float }:
                Scale(MemoryMarshal.Cast<byte, double>(bytes), samples, 1);
                break;
            default:
                for (int i = 0; i < samples.Length; i++)
                    samples[i] = _companded![bytes[i]];
                break;
        }
    }

    static void Scale<T>(ReadOnlySpan<T> values, Span<float> samples, float factor) where T : System.Numerics.INumberBase<T>
    {
        TensorPrimitives.ConvertTruncating(values, samples);
        TensorPrimitives.Multiply(samples, factor, samples);
    }

    void SwapBytes(Span<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i += _encoding.Bytes)
            bytes.Slice(i, _encoding.Bytes).Reverse();
    }

    // ITU-T G.711.
    static float[] Companded(SampleKind kind)
    {
        float[] table = new float[256];
        for (int code = 0; code < 256; code++)
        {
            int flipped = code ^ (kind == SampleKind.ALaw ? 0x55 : 0xFF), exponent = flipped >> 4 & 7, mantissa = flipped & 15;
            int magnitude = kind == SampleKind.MuLaw ? ((mantissa << 3) + 132 << exponent) - 132
                : exponent == 0 ? (mantissa << 4) + 8 : (mantissa << 4) + 264 << exponent - 1;
            bool isPositive = (flipped & 128) != 0 == (kind == SampleKind.ALaw);
            table[code] = (isPositive ? magnitude : -magnitude) / 32768f;
        }
        return table;
    }
}

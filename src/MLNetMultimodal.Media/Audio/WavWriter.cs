using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace MLNetMultimodal.Media.Audio;

/// <summary>Writes WAV files. Thread-safe.</summary>
public static class WavWriter
{
    const int HeaderBytes = 44;
    const int BlockMoments = 4096;

    /// <summary>Writes a sound as a WAV file. The file appears whole or not at all.</summary>
    /// <param name="sound">The sound.</param>
    /// <param name="path">Where to; a file of this name is replaced.</param>
    /// <param name="encoding">How samples are kept.</param>
    /// <exception cref="ArgumentException">The sound needs more than the 4 GiB that a WAV file can have.</exception>
    public static void Save(Waveform sound, string path, WavEncoding encoding = WavEncoding.Pcm16)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        WholeFile.Write(path, file => Write(sound, file, encoding));
    }

    /// <summary>Writes a sound as a WAV file to a stream, which need not go back.</summary>
    /// <param name="sound">The sound.</param>
    /// <param name="stream">Where to; stays open.</param>
    /// <param name="encoding">How samples are kept.</param>
    /// <exception cref="ArgumentException">The sound needs more than the 4 GiB that a WAV file can have.</exception>
    public static void Write(Waveform sound, Stream stream, WavEncoding encoding = WavEncoding.Pcm16)
    {
        ArgumentNullException.ThrowIfNull(sound);
        ArgumentNullException.ThrowIfNull(stream);
        if (!Enum.IsDefined(encoding))
            throw new ArgumentOutOfRangeException(nameof(encoding), encoding, "encoding must be Pcm16 or Float32.");
        int sampleBytes = encoding == WavEncoding.Pcm16 ? 2 : 4;
        long bytes = (long)sound.Samples.Length * sampleBytes;
        if (bytes > uint.MaxValue - HeaderBytes)
            throw new ArgumentException($"the sound needs {bytes} bytes, but a WAV file has at most 4 GiB; write it in parts.",
                nameof(sound));
        stream.Write(Header(sound, encoding, sampleBytes, (uint)bytes));
        float[] block = new float[BlockMoments * sound.Channels];
        byte[] encoded = new byte[block.Length * sampleBytes];
        for (int at = 0; at < sound.Length; at += BlockMoments)
        {
            int moments = Math.Min(BlockMoments, sound.Length - at);
            for (int c = 0; c < sound.Channels; c++) // [channels, T] -> [T, channels]
            {
                ReadOnlySpan<float> channel = sound.Channel(c).Slice(at, moments);
                for (int i = 0; i < moments; i++)
                    block[i * sound.Channels + c] = channel[i];
            }
            Encode(block.AsSpan(0, moments * sound.Channels), encoding, encoded);
            stream.Write(encoded, 0, moments * sound.Channels * sampleBytes);
        }
    }

    static void Encode(ReadOnlySpan<float> samples, WavEncoding encoding, Span<byte> encoded)
    {
        if (encoding == WavEncoding.Float32)
        {
            samples.CopyTo(MemoryMarshal.Cast<byte, float>(encoded));
            return;
        }
        Span<short> shorts = MemoryMarshal.Cast<byte, short>(encoded);
        for (int i = 0; i < samples.Length; i++)
            shorts[i] = (short)Math.Clamp(MathF.Round(samples[i] * 32768), short.MinValue, short.MaxValue);
    }

    static byte[] Header(Waveform sound, WavEncoding encoding, int sampleBytes, uint bytes)
    {
        byte[] header = new byte[HeaderBytes];
        "RIFF"u8.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4), HeaderBytes - 8 + bytes);
        "WAVEfmt "u8.CopyTo(header.AsSpan(8));
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(16), 16);
        BinaryPrimitives.WriteInt16LittleEndian(header.AsSpan(20), (short)(encoding == WavEncoding.Pcm16 ? 1 : 3));
        BinaryPrimitives.WriteInt16LittleEndian(header.AsSpan(22), (short)sound.Channels);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(24), sound.SampleRateHz);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(28), sound.SampleRateHz * sound.Channels * sampleBytes);
        BinaryPrimitives.WriteInt16LittleEndian(header.AsSpan(32), (short)(sound.Channels * sampleBytes));
        BinaryPrimitives.WriteInt16LittleEndian(header.AsSpan(34), (short)(8 * sampleBytes));
        "data"u8.CopyTo(header.AsSpan(36));
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(40), bytes);
        return header;
    }
}

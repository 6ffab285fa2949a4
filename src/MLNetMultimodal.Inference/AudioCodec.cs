using System.Collections.Concurrent;
using System.Numerics.Tensors;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference;

/// <summary>Sound as codes.</summary>
/// <param name="Samples">T, samples per channel of the sound.</param>
/// <param name="Codebooks">K, codes per frame.</param>
/// <param name="Segments">The pieces in their order; one for a codec that takes sound as a whole.</param>
public sealed record CodedSound(int Samples, int Codebooks, IReadOnlyList<CodedSegment> Segments);

/// <summary>A piece of sound as codes.</summary>
/// <param name="Codes">[K, frames], row-major: each 0 to the size of the codebook - 1.</param>
/// <param name="Scale">What the decoded piece is multiplied with: its loudness, or 1.</param>
public sealed record CodedSegment(long[] Codes, float Scale);

/// <summary>A neural codec, loaded: sound becomes a few codes per frame, and codes become sound (EnCodec: Défossez et al. 2022,
/// arXiv:2210.13438). Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class AudioCodec : IDisposable
{
    readonly ModelWeights _file;
    readonly Lazy<OnnxSession> _encoder;
    readonly ConcurrentDictionary<int, Lazy<OnnxSession>> _decoders = new();
    readonly Func<IProgram, OnnxSession> _open;
    readonly EncodecModel _model;

    AudioCodec(EncodecModel model, ModelFiles files, ModelWeights file, InferenceOptions options)
    {
        (_model, _file) = (model, file);
        IReadOnlyDictionary<string, TensorData> weights = CheckpointWeights.For(model, file, files.Name);
        _open = program => new(OnnxRecorder.Record(program, weights), options.Threads);
        _encoder = new(() => _open(model.Encoder));
    }

    /// <summary>Loads a model folder: <c>config.json</c> and <c>model.safetensors</c>. The weights stay mapped to the file until
    /// <see cref="Dispose"/>.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="options">Threads; null for the defaults.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">config.json or model.safetensors is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not sound, or weights are missing, surplus or of another shape.</exception>
    /// <exception cref="NotSupportedException">The model is no codec.</exception>
    public static AudioCodec Load(string folder, InferenceOptions? options = null) => Load(ModelFiles.FromFolder(folder), options);

    /// <summary>Loads the files of a codec, from a folder or from memory.</summary>
    /// <param name="files">The files.</param>
    /// <param name="options">Threads; null for the defaults.</param>
    /// <inheritdoc cref="Load(string, InferenceOptions?)" path="/exception"/>
    public static AudioCodec Load(ModelFiles files, InferenceOptions? options = null)
    {
        options ??= new();
        IModelDefinition definition = ModelFamilies.Create(files, options.Families);
        if (definition is not EncodecModel model)
            throw new NotSupportedException($"'{files.Name}' is a '{definition.ModelType}', which is no codec; an 'encodec' is one.");
        ModelWeights file = files.OpenWeights();
        try
        {
            return new(model, files, file, options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Sizes.</summary>
    public EncodecConfig Config => _model.Config;

    /// <summary>Codes sound.</summary>
    /// <param name="samples">[C, T], one channel after the other, at <see cref="EncodecConfig.SampleRateHz"/>, each about -1 to 1.</param>
    /// <param name="kbps">Bit rate in kilobits per second; null for the highest. The largest number of codebooks that it pays for is
    /// used.</param>
    /// <exception cref="ArgumentException">There are no samples, their number is no multiple of the channels, or one is not
    /// finite.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="kbps"/> is less than one codebook takes, or more than all
    /// take.</exception>
    public CodedSound Encode(ReadOnlySpan<float> samples, float? kbps = null)
    {
        int channels = Config.Channels, length = samples.Length / channels;
        if (length == 0 || samples.Length % channels != 0)
            throw new ArgumentException($"the sound must have {channels} channels of at least one sample, but has {samples.Length} samples.", nameof(samples));
        if (!TensorPrimitives.IsFiniteAll(samples))
            throw new ArgumentException("the sound holds a sample that is no finite number.", nameof(samples));
        int codebooks = Codebooks(kbps);
        int segment = Config.SegmentSamples ?? length, stride = Config.SegmentStride ?? length;
        var segments = new List<CodedSegment>();
        for (int start = 0; start < length; start += stride)
            segments.Add(EncodeSegment(samples, length, start, Math.Min(segment, length - start), codebooks));
        return new(length, codebooks, segments);
    }

    int Codebooks(float? kbps)
    {
        if (kbps is not { } rate) return Config.Codebooks;
        float least = Config.FrameRateHz * MathF.Log2(Config.CodebookSize) / 1000, most = Config.BandwidthsKbps[^1];
        return rate >= least && rate <= most ? Config.CodebooksAt(rate) : throw new ArgumentOutOfRangeException(nameof(kbps), rate,
            $"the bit rate must be {least:g4} to {most:g4} kbit/s.");
    }

    CodedSegment EncodeSegment(ReadOnlySpan<float> samples, int length, int start, int count, int codebooks)
    {
        int channels = Config.Channels;
        var piece = new float[channels * count];
        for (int c = 0; c < channels; c++) samples.Slice(c * length + start, count).CopyTo(piece.AsSpan(c * count));
        float scale = Config.Normalizes ? Loudness(piece, channels) : 1;
        if (Config.Normalizes) TensorPrimitives.Divide(piece, scale, piece);
        var outputs = _encoder.Value.Run(new Dictionary<string, TensorData> { ["input_values"] = TensorData.From(piece, 1, channels, count) });
        TensorData codes = outputs["audio_codes"];
        return new(codes.ToInt64s()[..(codebooks * (int)codes.Shape[2])], scale); // the first codebooks come first
    }

    /// <summary>The root mean square of the mean over channels, never 0.</summary>
    static float Loudness(ReadOnlySpan<float> piece, int channels)
    {
        int count = piece.Length / channels;
        var mono = new float[count];
        for (int c = 0; c < channels; c++) TensorPrimitives.Add(mono, piece.Slice(c * count, count), mono);
        TensorPrimitives.Divide(mono, (float)channels, mono);
        return MathF.Sqrt(TensorPrimitives.SumOfSquares<float>(mono) / count) + 1e-8f;
    }

    /// <summary>Makes sound of codes. Where pieces overlap, one fades into the other.</summary>
    /// <param name="sound">The codes.</param>
    /// <returns>[C, T], one channel after the other.</returns>
    /// <exception cref="ArgumentException">There are no segments, a code is outside its codebook, or the numbers of codes do not
    /// fit the sound.</exception>
    public float[] Decode(CodedSound sound)
    {
        if (sound.Segments.Count == 0) throw new ArgumentException("the sound has no segments.", nameof(sound));
        int channels = Config.Channels, stride = Config.SegmentStride ?? 0;
        float[][] pieces = [.. sound.Segments.Select(s => DecodeSegment(sound, s))];
        int first = pieces[0].Length / channels, total = stride * (pieces.Length - 1) + pieces[^1].Length / channels;
        if (sound.Samples < 1 || sound.Samples > total || (pieces.Length > 1 && stride == 0) || pieces.Any(p => p.Length > pieces[0].Length))
            throw new ArgumentException($"{pieces.Length} segments make {total} samples, which do not fit a sound of {sound.Samples}.", nameof(sound));
        var result = new float[channels * sound.Samples];
        for (int c = 0; c < channels; c++) Join(pieces, c, channels, stride, Fade(first), result.AsSpan(c * sound.Samples, sound.Samples));
        return result;
    }

    float[] DecodeSegment(CodedSound sound, CodedSegment segment)
    {
        if (sound.Codebooks < 1 || sound.Codebooks > Config.Codebooks || segment.Codes.Length == 0 || segment.Codes.Length % sound.Codebooks != 0)
            throw new ArgumentException($"a segment has {segment.Codes.Length} codes of {sound.Codebooks} codebooks; "
                + $"wanted is a multiple of 1 to {Config.Codebooks} codebooks.", nameof(sound));
        if (Array.Find(segment.Codes, c => c < 0 || c >= Config.CodebookSize) is not 0 and var wrong)
            throw new ArgumentException($"the code {wrong} is not in a codebook of {Config.CodebookSize}.", nameof(sound));
        OnnxSession decoder = _decoders.GetOrAdd(sound.Codebooks, k => new(() => _open(_model.Decoder(k)))).Value;
        TensorData codes = TensorData.From(segment.Codes, 1, sound.Codebooks, segment.Codes.Length / sound.Codebooks);
        float[] piece = decoder.Run(new Dictionary<string, TensorData> { ["audio_codes"] = codes })["audio_values"].ToSingles();
        TensorPrimitives.Multiply(piece, segment.Scale, piece);
        return piece;
    }

    /// <summary>A triangle that is nowhere 0: how much a piece counts at each of its samples.</summary>
    static float[] Fade(int count) => [.. Enumerable.Range(1, count).Select(i => 0.5f - MathF.Abs((float)i / (count + 1) - 0.5f))];

    static void Join(float[][] pieces, int channel, int channels, int stride, float[] fade, Span<float> result)
    {
        if (pieces.Length == 1)
        {
            pieces[0].AsSpan(channel * pieces[0].Length / channels, result.Length).CopyTo(result);
            return;
        }
        var weights = new float[result.Length];
        for (int p = 0; p < pieces.Length; p++)
        {
            int count = pieces[p].Length / channels, start = p * stride;
            for (int i = 0; i < Math.Min(count, result.Length - start); i++)
            {
                result[start + i] += fade[i] * pieces[p][channel * count + i];
                weights[start + i] += fade[i];
            }
        }
        TensorPrimitives.Divide(result, weights, result);
    }

    /// <summary>Closes the sessions and the weights. No other call may be under way.</summary>
    public void Dispose()
    {
        foreach (Lazy<OnnxSession> session in _decoders.Values.Append(_encoder))
            if (session.IsValueCreated) session.Value.Dispose();
        _file.Dispose();
    }
}

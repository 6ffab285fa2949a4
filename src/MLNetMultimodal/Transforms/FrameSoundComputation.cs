using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows whose videos are fused.</summary>
sealed class FrameSoundBatch(int rows, VideoPart part) : RowBatch
{
    public VideoPart Part => part;

    public Exception?[] Errors { get; } = new Exception?[rows];

    /// <summary>[B], for each [T, C, H, W] and the spectrogram; null where they could not be read.</summary>
    public (float[] Pixels, float[] Spectrogram)?[] Inputs { get; } = new (float[], float[])?[rows];

    /// <summary>[B][D] and [B][T, S].</summary>
    public (float[] Embedding, float[] Map)[] Results { get; } = new (float[], float[])[rows];
}

/// <summary>Decodes videos and lets their frames listen.</summary>
sealed class FrameSoundComputation : BatchComputation<FrameSoundBatch>
{
    /// <summary>Annotations of the map: seconds from one frame, and from one moment, to the next.</summary>
    public const string FrameAnnotation = "FrameSeconds", MomentAnnotation = "MomentSeconds";

    readonly IHost _host;
    readonly FuseFramesAndSoundOptions _options;
    readonly MultimodalModel _model;
    readonly VideoColumn _video;
    readonly FrameSoundClip _clip;
    readonly (float[] Embedding, float[] Map) _missing;

    public FrameSoundComputation(IHost host, FuseFramesAndSoundOptions options, MultimodalModel model)
    {
        (_host, _options, _model, _video, _clip) = (host, options, model, options.Column, FrameSoundClip.Of(model));
        int frames = _clip.Config.Frames, moments = _clip.Config.Moments, width = model.EmbeddingWidth;
        _missing = ([.. Enumerable.Repeat(float.NaN, width)], [.. Enumerable.Repeat(float.NaN, frames * moments)]);
        string name = ModelContent.ShortName(model);
        DataViewSchema.Annotations.Builder of = new(), seconds = new();
        of.Add(EmbedComputation.ModelAnnotation, TextDataViewType.Instance, (ref ReadOnlyMemory<char> value) => value = name.AsMemory());
        seconds.Add(FrameAnnotation, NumberDataViewType.Single, (ref float value) => value = (float)_clip.FrameSeconds);
        seconds.Add(MomentAnnotation, NumberDataViewType.Single, (ref float value) => value = (float)_clip.MomentSeconds);
        Outputs =
        [
            new(options.Output, new VectorDataViewType(NumberDataViewType.Single, width), of.ToAnnotations()),
            new(options.AttentionMap, new VectorDataViewType(NumberDataViewType.Single, frames, moments), seconds.ToAnnotations()),
        ];
    }

    /// <summary>One: a video is a batch of pictures by itself.</summary>
    public override int BatchSize => 1;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) =>
        [_video.Find(input)];

    public override FrameSoundBatch NewBatch(int rows, Func<int, bool> isActive) => new(rows, _video.NewPart(rows));

    public override Action<FrameSoundBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<VideoPart, int> read = _video.Reader(input);
        return (batch, slot) => read(batch.Part, slot);
    }

    public override void Prepare(FrameSoundBatch batch, int slot)
    {
        (batch.Errors[slot], batch.Inputs[slot], batch.Results[slot]) = (null, null, _missing);
        try
        {
            var (frames, spectrogram) = _video.Open(batch.Part, slot, _clip.Read);
            var pixels = new float[frames.Length * 3 * _clip.Images.Height * _clip.Images.Width];
            _clip.Normalize(frames, pixels);
            batch.Inputs[slot] = (pixels, spectrogram);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            batch.Errors[slot] = _video.Unreadable(batch.Part, slot, batch.FirstRow + slot, e);
        }
    }

    public override void Run(FrameSoundBatch batch, int count)
    {
        for (int slot = 0; slot < count; slot++)
        {
            if (batch.Inputs[slot] is not var (pixels, spectrogram)) continue;
            IReadOnlyDictionary<string, TensorData> outputs = _model.Run(new Dictionary<string, TensorData>
            {
                ["pixel_values"] = TensorData.From(pixels, 1, _clip.Config.Frames, 3, _clip.Images.Height, _clip.Images.Width),
                ["input_values"] = TensorData.From(spectrogram, 1, _clip.Config.Audio.Frames, _clip.Config.Audio.MelBins),
            });
            batch.Results[slot] = (outputs["fused_embeds"].ToSingles(), outputs["attention_map"].ToSingles());
            batch.Inputs[slot] = null;
        }
    }

    public override Delegate Getter(int output, Func<(FrameSoundBatch Batch, int Slot)> current)
    {
        ValueGetter<VBuffer<float>> getter = (ref VBuffer<float> value) =>
        {
            var (batch, slot) = current();
            if (batch.Errors[slot] is { } error && _options.OnError == OnError.Throw) throw error;
            Columns.Fill<float>(ref value, output == 0 ? batch.Results[slot].Embedding : batch.Results[slot].Map);
        };
        return getter;
    }

    public override int Failures(FrameSoundBatch batch, int count) =>
        _options.OnError == OnError.Throw ? 0 : batch.Errors.Take(count).Count(e => e is not null);

    public override void Report(long failures) =>
        Warn(_host, "FuseFramesAndSound", $"{failures} videos could not be read; their values are missing (all NaN).");
}

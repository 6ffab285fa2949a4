using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Transforms;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Clips of a step.</summary>
/// <param name="Pixels">[B, T, C, H, W].</param>
/// <param name="Spectrograms">[B, frames, bins], or [2 B, frames, bins] with the same once more, shifted in time.</param>
/// <param name="Count">B.</param>
sealed record FrameSoundClips(float[] Pixels, float[] Spectrograms, int Count);

/// <summary>Learns which soundtrack of a batch belongs to which frames, with InfoNCE both ways (van den Oord et al. 2018,
/// arXiv:1807.03748): the logit of a pair is what the fusion of the two says. Among the soundtracks that do not belong to a clip is its
/// own, shifted in time (Korbar et al. 2018, arXiv:1807.00230, section 3.2): to tell it from the right one, frames must listen to
/// their own moment.</summary>
sealed class FrameSoundTask : ITrainingTask<FrameSoundClips>
{
    const int MatchedTogether = 16; // clips of a group in which validation looks for the right soundtrack

    readonly FrameSoundFusionModel _definition;
    readonly TorchModel _model;
    readonly FrameSoundClip _clip;
    readonly IReadOnlyList<FrameSoundItem> _train;
    readonly IReadOnlyList<FrameSoundItem>? _validation;
    readonly TorchOps _ops;
    readonly int _seed;

    /// <param name="options">Precision.</param>
    /// <param name="definition">The model.</param>
    /// <param name="model">Its weights.</param>
    /// <param name="clip">How pictures are normalised.</param>
    /// <param name="frozen">Beginnings of the names of weights that stay.</param>
    /// <param name="train">The clips.</param>
    /// <param name="validation">Others; null for none.</param>
    public FrameSoundTask(FrameSoundOptions options, FrameSoundFusionModel definition, TorchModel model, FrameSoundClip clip,
        IReadOnlyList<string> frozen, IReadOnlyList<FrameSoundItem> train, IReadOnlyList<FrameSoundItem>? validation)
    {
        if (train.Count < 2) throw new ArgumentException($"the data must have at least 2 videos, but has {train.Count}.", nameof(train));
        if (validation is { Count: < 2 }) throw new ArgumentException($"the validation data must have at least 2 videos, but has {validation.Count}.", nameof(validation));
        (_definition, _model, _clip, _train, _validation) = (definition, model, clip, train, validation);
        _seed = options.Seed;
        _ops = model.Ops(new() { BFloat16 = options.BFloat16 });
        var parameters = new List<NamedParameter>();
        foreach (ParameterSpec spec in model.Specs)
        {
            bool isTrained = !frozen.Any(f => spec.Name.StartsWith(f, StringComparison.Ordinal));
            model.Parameters[spec.Name].requires_grad = isTrained;
            if (isTrained) parameters.Add(new(spec.Name, model.Parameters[spec.Name], spec.Decays));
        }
        Parameters = parameters;
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public int Rows => _train.Count;

    public string Metric => "top1";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    public FrameSoundClips Make(ReadOnlyMemory<int> rows, int epoch)
    {
        FrameSoundClips batch = Batch([.. rows.ToArray().Select(row => _train[row])]);
        int moments = _definition.Config.Moments;
        if (moments < 2) return batch;
        var shifted = new float[2 * batch.Spectrograms.Length];
        batch.Spectrograms.CopyTo(shifted, 0);
        for (int i = 0; i < rows.Length; i++)
        {
            int size = batch.Spectrograms.Length / rows.Length;
            var random = new SampleRandom(_seed, epoch, rows.Span[i]);
            int by = (1 + random.UpTo(moments - 2)) * _definition.Config.Audio.Stride * _definition.Config.Audio.MelBins;
            ReadOnlySpan<float> sound = batch.Spectrograms.AsSpan(i * size, size);
            Span<float> later = shifted.AsSpan(batch.Spectrograms.Length + i * size, size);
            sound[..^by].CopyTo(later[by..]);
            sound[^by..].CopyTo(later); // what falls out at the end comes in at the beginning
        }
        return batch with { Spectrograms = shifted };
    }

    FrameSoundClips Batch(IReadOnlyList<FrameSoundItem> items)
    {
        int frames = items[0].Frames.Length * 3 * _clip.Images.Height * _clip.Images.Width, sounds = items[0].Spectrogram.Length;
        var pixels = new float[items.Count * frames];
        var spectrograms = new float[items.Count * sounds];
        for (int i = 0; i < items.Count; i++)
        {
            _clip.Normalize(items[i].Frames, pixels.AsSpan(i * frames, frames));
            items[i].Spectrogram.CopyTo(spectrograms, i * sounds);
        }
        return new(pixels, spectrograms, items.Count);
    }

    public float Backward(FrameSoundClips batch, TrainingPosition at)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = Logits(batch), own = TorchNumbers.Range(batch.Count, _model.Device);
        Tensor loss = F.cross_entropy(logits, own).Plus(F.cross_entropy(logits.narrow(1, 0, batch.Count).t(), own)).Over(2);
        loss.backward();
        return loss.item<float>();
    }

    /// <summary>All frames with all soundtracks: [B, B]; where there are shifted ones, one more column of each with its own.</summary>
    Tensor Logits(FrameSoundClips batch)
    {
        FrameSoundFusionConfig c = _definition.Config;
        int b = batch.Count;
        Tensor pixels = tensor(batch.Pixels, [b, c.Frames, 3, _clip.Images.Height, _clip.Images.Width]).to(_model.Device);
        Tensor sounds = tensor(batch.Spectrograms, [batch.Spectrograms.Length / (c.Audio.Frames * c.Audio.MelBins), c.Audio.Frames, c.Audio.MelBins]).to(_model.Device);
        Tensor frames = FrameSoundFusion.FrameTokens<Tensor>(_ops, c, pixels), moments = FrameSoundFusion.MomentTokens<Tensor>(_ops, c, sounds);
        Tensor everyFrame = frames.repeat_interleave(b, 0), everyMoment = moments.narrow(0, 0, b).repeat(b, 1, 1); // [B B, T, D], [B B, S, D]
        Tensor match = FrameSoundFusion.Fuse<Tensor>(_ops, c, everyFrame, everyMoment).Match.view(b, b);
        if (moments.shape[0] == b) return match;
        Tensor shifted = FrameSoundFusion.Fuse<Tensor>(_ops, c, frames, moments.narrow(0, b, b)).Match;
        return cat([match, shifted.unsqueeze(1)], 1);                                                   // -> [B, B + 1]
    }

    /// <summary>The share of clips that, among a few, find their own soundtrack.</summary>
    public double? Validate()
    {
        if (_validation is null) return null;
        using IDisposable noGradients = no_grad();
        long right = 0;
        int seen = 0;
        foreach (FrameSoundItem[] group in _validation.Chunk(MatchedTogether).Where(g => g.Length > 1))
        {
            using DisposeScope scope = NewDisposeScope();
            right += Logits(Batch(group)).argmax(1).eq(TorchNumbers.Range(group.Length, _model.Device)).sum().item<long>();
            seen += group.Length;
        }
        return (double)right / seen;
    }

    public TrainedWeights Weights() => new(_model.ToWeights());
}

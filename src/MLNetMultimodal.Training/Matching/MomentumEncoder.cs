using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>A copy of the towers that follows them slowly, and the embeddings that it made of the last rows (MoCo: He et al. 2020,
/// arXiv:1911.05722; ALBEF: Li et al. 2021, arXiv:2107.07651, section 3.3).</summary>
sealed class MomentumEncoder : IDisposable
{
    readonly SlowCopy _copy;
    readonly Device _device;
    readonly AlbefConfig _config;
    readonly double _keep;
    readonly Tensor _images, _texts, _captions, _filled; // [Q, E], [Q, E], [Q], [2]: rows in the queue, and where the next goes

    /// <param name="config">Sizes.</param>
    /// <param name="model">The towers that learn.</param>
    /// <param name="definition">Their programs.</param>
    /// <param name="queueSize">Q, rows that are kept, at least 0.</param>
    /// <param name="keep">Part of the copy that a step keeps.</param>
    public MomentumEncoder(AlbefConfig config, TorchModel model, AlbefModel definition, int queueSize, double keep)
    {
        (_config, _keep, _device) = (config, keep, model.Device);
        _copy = new(definition.Full, model, "momentum");
        using DisposeScope scope = NewDisposeScope();
        _images = zeros([queueSize, config.ProjectionWidth], device: model.Device).DetachFromDisposeScope();
        _texts = zeros([queueSize, config.ProjectionWidth], device: model.Device).DetachFromDisposeScope();
        _captions = zeros([queueSize], ScalarType.Int64, model.Device).DetachFromDisposeScope();
        _filled = zeros([2], ScalarType.Int64).DetachFromDisposeScope();
        var state = _copy.State.ToDictionary(StringComparer.Ordinal);
        (state["queue.images"], state["queue.texts"], state["queue.captions"], state["queue.filled"]) = (_images, _texts, _captions, _filled);
        State = state;
    }

    /// <summary>Copy and queue, for checkpoints.</summary>
    public IReadOnlyDictionary<string, Tensor> State { get; }

    int Filled => (int)_filled[0].item<long>();

    /// <summary>What the copy makes of pictures and texts, and of the rows before.</summary>
    /// <param name="pixels">[B, C, H, W].</param>
    /// <param name="ids">[U, L].</param>
    /// <returns>Embeddings of the pictures and then those of the queue, [B + q, E]; of the texts likewise, [U + q, E]; the number of
    /// each caption of the queue, [q].</returns>
    public (Tensor Images, Tensor Texts, Tensor QueuedCaptions) Embed(Tensor pixels, Tensor ids)
    {
        using IDisposable noGradients = no_grad();
        TorchOps ops = _copy.Model.Ops();
        Tensor image = Albef.Image(ops, _config, pixels).Embeds, text = Albef.Text(ops, _config, ids, Albef.Keep(ops, _config, ids)).Embeds;
        int filled = Filled;
        return (cat([image, _images.slice(0, 0, filled, 1)]), cat([text, _texts.slice(0, 0, filled, 1)]), _captions.slice(0, 0, filled, 1).clone());
    }

    /// <summary>Puts rows into the queue, in place of the oldest.</summary>
    /// <param name="images">[B, E].</param>
    /// <param name="texts">[B, E].</param>
    /// <param name="captions">[B], equal for equal captions.</param>
    public void Enqueue(Tensor images, Tensor texts, Tensor captions)
    {
        if (_captions.shape[0] == 0) return;
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        long size = _captions.shape[0], next = _filled[1].item<long>(), rows = Math.Min(images.shape[0], size);
        Tensor places = TorchNumbers.Range(rows, _device).Plus(next).With(size, (place, q) => place.remainder(q));
        _images.index_copy_(0, places, images.slice(0, 0, rows, 1));
        _texts.index_copy_(0, places, texts.slice(0, 0, rows, 1));
        _captions.index_copy_(0, places, captions.slice(0, 0, rows, 1));
        _filled.copy_(tensor([Math.Min(size, _filled[0].item<long>() + rows), (next + rows) % size]));
    }

    /// <summary>Moves the copy towards the towers.</summary>
    public void Follow() => _copy.Follow(_keep);

    public void Dispose()
    {
        _copy.Dispose();
        _images.Dispose();
        _texts.Dispose();
        _captions.Dispose();
        _filled.Dispose();
    }
}

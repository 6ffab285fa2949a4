using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>How codebooks follow the data.</summary>
public sealed record ResidualQuantizerOptions
{
    /// <summary>Decay of the moving averages that code vectors are made of, 0 to below 1. Default 0.99.</summary>
    public double Decay
    {
        get;
        init => field = value is >= 0 and < 1 ? value : throw new ArgumentOutOfRangeException(nameof(Decay), value, "Decay must be at least 0 and below 1.");
    } = 0.99;

    /// <summary>Added to each code's count, so that none is 0. Default 1e-5.</summary>
    public double Epsilon
    {
        get;
        init => field = value > 0 ? value : throw new ArgumentOutOfRangeException(nameof(Epsilon), value, "Epsilon must be above 0.");
    } = 1e-5;

    /// <summary>A code whose averaged count of vectors in a batch falls below this begins anew at a vector of the batch; 0 never does
    /// that. Default 2, as in EnCodec.</summary>
    public double ExpireBelow
    {
        get;
        init => field = value >= 0 ? value : throw new ArgumentOutOfRangeException(nameof(ExpireBelow), value, "ExpireBelow must be at least 0.");
    } = 2;

    /// <summary>Seed of the choice of those vectors. Default 1.</summary>
    public int Seed { get; init; } = 1;
}

/// <summary>Residual vector quantisation in training: gradients pass straight through, and codebooks follow the vectors they code as
/// moving averages (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1; Zeghidour et al. 2021, arXiv:2107.03312, section
/// III.C). Not thread-safe.</summary>
public sealed class ResidualQuantizer : IDisposable
{
    readonly ResidualQuantizerOptions _options;
    readonly Generator _generator;
    readonly Layer[] _layers;

    /// <summary>Codebooks as they are, each code with a count of <paramref name="count"/>.</summary>
    /// <param name="tables">One table [V, D] per codebook, first to last. They stay the caller's, and are changed in place.</param>
    /// <param name="options">How they follow the data; null for the defaults.</param>
    /// <param name="count">How many vectors each code counts as having seen in a batch, above 0.</param>
    public ResidualQuantizer(IReadOnlyList<Tensor> tables, ResidualQuantizerOptions? options = null, double count = 2)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        _options = options ?? new();
        _generator = new Generator(unchecked((ulong)_options.Seed), tables[0].device);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        _layers = [.. tables.Select(table => new Layer(table,
            table.With((float)count, (t, c) => full(t.shape[0], c, ScalarType.Float32, t.device)).DetachFromDisposeScope(),
            table.detach().Times(count).DetachFromDisposeScope()))];
    }

    /// <summary>The averaged number of vectors that each code of a codebook gets in a batch, [V].</summary>
    /// <param name="codebook">Its number.</param>
    public Tensor Counts(int codebook) => _layers[codebook].Counts;

    /// <summary>The averaged sum of those vectors, [V, D].</summary>
    /// <param name="codebook">Its number.</param>
    public Tensor Sums(int codebook) => _layers[codebook].Sums;

    /// <summary>What draws the vectors that codes begin at; its state belongs into checkpoints.</summary>
    internal Generator Generator => _generator;

    /// <summary>Starts codebooks from data: k-means over vectors of a batch, each codebook over what those before it left.</summary>
    /// <param name="latent">[B, D, frames], with at least one frame.</param>
    /// <param name="iterations">Rounds of k-means.</param>
    public void Initialize(Tensor latent, int iterations = 10)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        Tensor residual = Vectors(latent);
        foreach (Layer layer in _layers)
        {
            layer.Table.copy_(Drawn(residual, layer.Table.shape[0]));
            for (int i = 0; i < iterations; i++)
            {
                (Tensor counts, Tensor sums) = layer.Assigned(residual, layer.Nearest(residual));
                Tensor used = counts.With(0, (c, zero) => c.gt(zero)).unsqueeze(1);
                layer.Table.copy_(where(used, sums / counts.With(1, (c, one) => c.clamp_min(one)).unsqueeze(1), layer.Table));
            }
            Tensor codes = layer.Nearest(residual);
            layer.Keep(layer.Assigned(residual, codes));
            residual = residual - layer.Table.index_select(0, codes);
        }
    }

    /// <summary>Quantises a batch, and moves the codebooks towards it.</summary>
    /// <param name="latent">[B, D, frames].</param>
    /// <param name="codebooks">How many codebooks to use, the first ones; null for all.</param>
    /// <returns>The sum of the code vectors [B, D, frames], whose gradient is that of <paramref name="latent"/>; Int64 codes
    /// [B, K, frames]; and the commitment loss, the mean over codebooks of the squared distance to the code, a scalar.</returns>
    public (Tensor Quantized, Tensor Codes, Tensor Commitment) Train(Tensor latent, int? codebooks = null)
    {
        long batch = latent.shape[0], frames = latent.shape[2];
        Tensor residual = Vectors(latent), sum = zeros_like(residual);                                  // [B, D, T] -> [B T, D]
        var codes = new List<Tensor>();
        var losses = new List<Tensor>();
        foreach (Layer layer in _layers.Take(codebooks ?? _layers.Length))
        {
            Tensor ids = layer.Nearest(residual.detach()), vectors = layer.Table.detach().index_select(0, ids);
            losses.Add(F.mse_loss(residual, vectors));
            Follow(layer, residual.detach(), ids);
            Tensor through = residual.Plus((vectors - residual).detach()); // the vectors, with the residual's gradient
            (sum, residual) = (sum.Plus(through), residual - through);
            codes.Add(ids.reshape(batch, 1, frames));
        }
        Tensor quantized = sum.reshape(batch, frames, -1).transpose(1, 2);                              // [B T, D] -> [B, D, T]
        return (quantized, cat(codes, 1), stack(losses).mean());
    }

    void Follow(Layer layer, Tensor vectors, Tensor ids)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        if (_options.ExpireBelow > 0) Expire(layer, vectors);
        (Tensor counts, Tensor sums) = layer.Assigned(vectors, ids);
        Average(layer.Counts, counts);
        Average(layer.Sums, sums);
        Tensor total = layer.Counts.sum();
        Tensor smoothed = layer.Counts.Plus(_options.Epsilon) / total.Plus(layer.Table.shape[0] * _options.Epsilon) * total;
        layer.Table.copy_(layer.Sums / smoothed.unsqueeze(1));

        void Average(Tensor mean, Tensor now) => mean.With(_options.Decay, (m, decay) => m.mul_(decay))
            .With(1, (m, one) => m.add_(now.Times(1 - _options.Decay), one));
    }

    void Expire(Layer layer, Tensor vectors)
    {
        Tensor expired = layer.Counts.With(_options.ExpireBelow, (c, least) => c.lt(least));
        if (!expired.any().item<bool>()) return;
        Tensor fresh = Drawn(vectors, layer.Table.shape[0]), each = expired.unsqueeze(1);
        layer.Sums.copy_(where(each, fresh.Times(_options.ExpireBelow), layer.Sums));
        layer.Counts.copy_(where(expired, layer.Counts.With(_options.ExpireBelow, (c, least) => full_like(c, least)), layer.Counts));
        layer.Table.copy_(where(each, fresh, layer.Table));
    }

    /// <summary>So many of the vectors, drawn with replacement where there are fewer.</summary>
    Tensor Drawn(Tensor vectors, long count)
    {
        long there = vectors.shape[0];
        Tensor chosen = there >= count ? rand(there, device: vectors.device, generator: _generator).argsort().slice(0, 0, count, 1)
            : rand(count, device: vectors.device, generator: _generator).Times(there).to(ScalarType.Int64).With(there - 1, (i, last) => i.clamp_max(last));
        return vectors.index_select(0, chosen);
    }

    static Tensor Vectors(Tensor latent) => latent.transpose(1, 2).reshape(-1, latent.shape[1]);

    /// <summary>Frees what it keeps; the tables stay.</summary>
    public void Dispose()
    {
        foreach (Layer layer in _layers) layer.Dispose();
        _generator.Dispose();
    }

    sealed class Layer(Tensor table, Tensor counts, Tensor sums) : IDisposable
    {
        public Tensor Table { get; } = table.detach().DetachFromDisposeScope(); // the same memory, without gradients

        public Tensor Counts => counts;

        public Tensor Sums => sums;

        /// <summary>[N, D] -> Int64 [N]: the nearest code of each vector.</summary>
        public Tensor Nearest(Tensor vectors)
        {
            using DisposeScope scope = NewDisposeScope();
            return (vectors.matmul(Table.t()).Times(2) - Table.Squared().sum(1)).argmax(1).MoveToOuterDisposeScope();
        }

        /// <summary>How many vectors each code got, [V], and their sum, [V, D].</summary>
        public (Tensor Counts, Tensor Sums) Assigned(Tensor vectors, Tensor ids)
        {
            Tensor each = ones(ids.shape[0], device: ids.device);
            return (zeros_like(counts).With(1, (x, one) => x.index_add_(0, ids, each, one)),
                zeros_like(sums).With(1, (x, one) => x.index_add_(0, ids, vectors, one)));
        }

        public void Keep((Tensor Counts, Tensor Sums) state)
        {
            counts.copy_(state.Counts);
            sums.copy_(state.Sums);
        }

        public void Dispose()
        {
            Table.Dispose();
            counts.Dispose();
            sums.Dispose();
        }
    }
}

using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using MLNetMultimodal.Models.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>The exponential moving average of the weights, which often tests better than the last ones (Polyak and Juditsky
/// 1992). Not thread-safe.</summary>
sealed class Ema : IDisposable
{
    readonly IReadOnlyList<NamedParameter> _parameters;
    readonly Tensor[] _averages;
    readonly double _decay;
    bool _swapped;

    /// <summary>An average that begins with the weights as they are.</summary>
    /// <param name="parameters">The weights; the caller owns them.</param>
    /// <param name="decay">Part of the average that an update keeps, 0 up to 1; early updates keep less: (1 + t) / (10 +
    /// t).</param>
    public Ema(IReadOnlyList<NamedParameter> parameters, double decay = 0.999)
    {
        if (decay is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(decay), decay, "must be at least 0 and below 1.");
        using IDisposable noGradients = no_grad();
        (_parameters, _decay) = (parameters, decay);
        _averages = [.. parameters.Select(p => p.Value.clone().DetachFromDisposeScope())];
    }

    /// <summary>Updates so far.</summary>
    public long Updates { get; private set; }

    /// <summary>Takes the weights into the average; call after each step.</summary>
    /// <exception cref="InvalidOperationException">The weights are swapped.</exception>
    public void Update()
    {
        if (_swapped) throw new InvalidOperationException("the weights are swapped with their average; dispose what Swap returned first.");
        double keep = Math.Min(_decay, (1.0 + Updates) / (10.0 + Updates));
        Updates++;
        using IDisposable noGradients = no_grad();
        using DisposeScope scope = NewDisposeScope();
        for (int i = 0; i < _averages.Length; i++)
        {
            Tensor weights = _parameters[i].Value;
            if (weights.device_type != DeviceType.CPU || !weights.is_contiguous()) _averages[i].lerp_(weights, 1 - keep);
            else TensorPrimitives.Lerp(Values(_averages[i]), Values(weights), (float)(1 - keep), Values(_averages[i])); // starts no threads
        }
    }

    static Span<float> Values(Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.bytes);

    /// <summary>Puts the average into the model, for an evaluation, until the returned object is disposed.</summary>
    /// <exception cref="InvalidOperationException">They are swapped already.</exception>
    public IDisposable Swap()
    {
        if (_swapped) throw new InvalidOperationException("the weights are swapped with their average already.");
        Exchange();
        return new Swapped(this);
    }

    void Exchange()
    {
        using IDisposable noGradients = no_grad();
        using DisposeScope scope = NewDisposeScope();
        for (int i = 0; i < _averages.Length; i++)
        {
            Tensor weights = _parameters[i].Value.detach().clone();
            _parameters[i].Value.copy_(_averages[i]);
            _averages[i].copy_(weights);
        }
        _swapped = !_swapped;
    }

    sealed class Swapped(Ema owner) : IDisposable
    {
        bool _done;

        public void Dispose()
        {
            if (!_done) owner.Exchange();
            _done = true;
        }
    }

    /// <summary>A copy of the averages by name, which are weights of the model, and the number of updates as
    /// <c>ema.updates</c>.</summary>
    /// <exception cref="InvalidOperationException">The weights are swapped.</exception>
    public IReadOnlyDictionary<string, TensorData> ToState()
    {
        if (_swapped) throw new InvalidOperationException("the weights are swapped with their average; dispose what Swap returned first.");
        var state = _parameters.Zip(_averages).ToDictionary(p => p.First.Name, p => p.Second.ToTensorData(), StringComparer.Ordinal);
        state.Add(UpdatesName, TensorData.From([Updates]));
        return state;
    }

    /// <summary>Goes on from a state. Nothing changes where it does not fit.</summary>
    /// <exception cref="InvalidDataException">Entries are missing, surplus or of another shape: the message lists
    /// all.</exception>
    /// <exception cref="InvalidOperationException">The weights are swapped.</exception>
    public void LoadState(IReadOnlyDictionary<string, TensorData> state)
    {
        if (_swapped) throw new InvalidOperationException("the weights are swapped with their average; dispose what Swap returned first.");
        var wanted = _parameters.Zip(_averages).ToDictionary(p => p.First.Name, p => (DType.F32, p.Second.shape), StringComparer.Ordinal);
        wanted.Add(UpdatesName, (DType.I64, []));
        StoredState.Check("the moving average", wanted, state);
        for (int i = 0; i < _averages.Length; i++) StoredState.CopyTo(state[_parameters[i].Name], _averages[i]);
        Updates = state[UpdatesName].ToInt64s()[0];
    }

    const string UpdatesName = "ema.updates";

    /// <summary>Frees the averages; the weights stay.</summary>
    public void Dispose()
    {
        foreach (Tensor average in _averages) average.Dispose();
    }
}

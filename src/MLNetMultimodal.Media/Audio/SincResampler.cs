using System.Buffers;
using System.Numerics.Tensors;

namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// Band-limited resampling of one channel with a windowed sinc (Smith and Gossett 1984, "A flexible sampling-rate conversion
/// method"), with the kernel of torchaudio's <c>resample</c> at its defaults, which the published models heard: Hann window, 6
/// zero crossings on each side, cut at 0.99 of the lower Nyquist frequency. Sound of any length streams through in bounded
/// memory, and into how many pieces it is cut changes no bit of the result. One thread at a time.
/// </summary>
public sealed class SincResampler
{
    const int ZeroCrossings = 6;
    const double Rolloff = 0.99;

    readonly int _from, _to;   // without their common factor: _from samples in for _to samples out
    readonly int _tapCount;
    readonly float[] _taps;    // [_to, _tapCount]
    readonly int[] _firstTaps; // [_to]: the sample that the first tap of a phase is for, from the beginning of a period
    float[] _pending;          // what later outputs need, from sample _start on
    int _pendingCount;
    long _start, _received, _produced;
    bool _isComplete;

    /// <summary>Prepares for a pair of rates.</summary>
    /// <param name="fromHz">The rate that comes in.</param>
    /// <param name="toHz">The rate that goes out.</param>
    public SincResampler(int fromHz, int toHz)
    {
        AudioReader.CheckRate(fromHz, nameof(fromHz));
        AudioReader.CheckRate(toHz, nameof(toHz));
        int divisor = (int)System.Numerics.BigInteger.GreatestCommonDivisor(fromHz, toHz);
        (_from, _to) = (fromHz / divisor, toHz / divisor);
        double cutoff = Math.Min(_from, _to) * Rolloff, reach = ZeroCrossings * _from / cutoff; // in samples that come in
        _tapCount = _from == _to ? 1 : (int)(2 * reach) + 1;
        _taps = new float[(long)_to * _tapCount];
        _firstTaps = new int[_to];
        for (int phase = 0; phase < _to; phase++)
        {
            double center = (double)phase * _from / _to;
            _firstTaps[phase] = _from == _to ? 0 : (int)Math.Ceiling(center - reach);
            for (int i = 0; i < _tapCount; i++)
                _taps[phase * _tapCount + i] = Tap(phase, _firstTaps[phase] + i, cutoff);
        }
        _start = Math.Min(0, _firstTaps[0]);
        _pendingCount = (int)-_start; // silence before the beginning
        _pending = new float[_pendingCount + 4096];
    }

    /// <summary>How many samples come out of so many that go in: ceil(samples * to / from).</summary>
    /// <param name="samples">How many samples go in, at least 0.</param>
    /// <returns>How many come out.</returns>
    public long OutputLength(long samples)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(samples);
        return (long)(((Int128)samples * _to + _from - 1) / _from);
    }

    /// <summary>Resamples a whole sound.</summary>
    /// <param name="samples">[T].</param>
    /// <param name="fromHz">Its rate.</param>
    /// <param name="toHz">The wanted rate.</param>
    /// <returns>[ceil(T * toHz / fromHz)].</returns>
    public static float[] Resample(ReadOnlySpan<float> samples, int fromHz, int toHz)
    {
        var resampler = new SincResampler(fromHz, toHz);
        long length = resampler.OutputLength(samples.Length);
        if (length > Array.MaxLength)
            throw new ArgumentException($"{samples.Length} samples become {length} at {toHz} Hz, more than fit an array; " +
                "resample in pieces.", nameof(samples));
        if (length == 0)
            return [];
        var output = new ArrayBufferWriter<float>((int)length);
        for (ReadOnlySpan<float> rest = samples; !rest.IsEmpty; rest = rest[Math.Min(rest.Length, 1 << 16)..])
            resampler.Write(rest[..Math.Min(rest.Length, 1 << 16)], output);
        resampler.Complete(output);
        return output.WrittenSpan.ToArray();
    }

    /// <summary>Takes the next samples and gives all that they decide.</summary>
    /// <param name="samples">The next samples, any number of them.</param>
    /// <param name="output">Where the resampled ones go.</param>
    /// <exception cref="InvalidOperationException"><see cref="Complete"/> was called before.</exception>
    public void Write(ReadOnlySpan<float> samples, IBufferWriter<float> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        if (_isComplete)
            throw new InvalidOperationException("The sound is complete; take a new SincResampler for another one.");
        Append(samples);
        _received += samples.Length;
        Produce(long.MaxValue, output);
    }

    /// <summary>Says that the sound is over, and gives the rest.</summary>
    /// <param name="output">Where the rest goes.</param>
    public void Complete(IBufferWriter<float> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        if (_isComplete)
            return;
        _isComplete = true;
        Append(new float[_tapCount + 1]); // silence after the end
        Produce(OutputLength(_received), output);
        _pending = [];
    }

    // The kernel in double precision, as torchaudio computes it: sin(pi t) / (pi t) * cos(pi t / 12)^2 for |t| < 6.
    float Tap(int phase, int sample, double cutoff)
    {
        if (_from == _to)
            return 1;
        double t = ((double)sample / _from - (double)phase / _to) * cutoff;
        if (Math.Abs(t) >= ZeroCrossings)
            return 0;
        double window = Math.Cos(t * Math.PI / ZeroCrossings / 2), angle = t * Math.PI;
        return (float)((angle == 0 ? 1 : Math.Sin(angle) / angle) * window * window * (cutoff / _from));
    }

    void Append(ReadOnlySpan<float> samples)
    {
        if (_pending.Length - _pendingCount < samples.Length)
            Array.Resize(ref _pending, Math.Max(2 * _pending.Length, _pendingCount + samples.Length));
        samples.CopyTo(_pending.AsSpan(_pendingCount));
        _pendingCount += samples.Length;
    }

    // Gives the outputs before `end` whose taps are all there, then forgets the samples that no later output needs.
    void Produce(long end, IBufferWriter<float> output)
    {
        while (_produced < end)
        {
            (long period, long phase) = Math.DivRem(_produced, (long)_to);
            long first = period * _from - _start; // where the period begins in _pending
            int count = Ready(end, phase, first);
            if (count == 0)
                break;
            Span<float> block = output.GetSpan(count)[..count];
            for (int i = 0; i < count; i++, phase++)
                block[i] = TensorPrimitives.Dot<float>(_taps.AsSpan((int)phase * _tapCount, _tapCount),
                    _pending.AsSpan((int)(first + _firstTaps[phase]), _tapCount));
            output.Advance(count);
            _produced += count;
        }
        long needed = _produced / _to * _from + _firstTaps[_produced % _to] - _start;
        int surplus = (int)Math.Min(needed, _pendingCount);
        if (surplus > 0)
        {
            _pending.AsSpan(surplus, _pendingCount - surplus).CopyTo(_pending);
            _pendingCount -= surplus;
            _start += surplus;
        }
    }

    // How many outputs of this period, from this phase on, have all their taps; the first taps rise with the phase.
    int Ready(long end, long phase, long first)
    {
        int last = (int)Math.Min(_to, phase + Math.Min(end - _produced, _to)), count = 0;
        while (phase + count < last && first + _firstTaps[phase + count] + _tapCount <= _pendingCount)
            count++;
        return count;
    }
}

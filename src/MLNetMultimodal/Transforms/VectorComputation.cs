using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;

namespace MLNetMultimodal.Transforms;

/// <summary>A vector that is made of each item of a column.</summary>
/// <typeparam name="TPart">The items of a batch.</typeparam>
/// <typeparam name="T">The vector's elements.</typeparam>
sealed record VectorStep<TPart, T>
{
    public required string Output { get; init; }

    public required InputColumn<TPart> Input { get; init; }

    /// <summary>Of the output; of known size, or as long as what is made of the item.</summary>
    public required VectorDataViewType Type { get; init; }

    /// <summary>Whole numbers that stand beside the output.</summary>
    public required IReadOnlyList<(string Name, int Value)> Annotations { get; init; }

    /// <summary>The vector of a slot, of at most the known size; the rest is 0.</summary>
    public required Func<TPart, int, T[]> Compute { get; init; }

    /// <summary>What a vector of known size holds where the item cannot be read.</summary>
    public required T Missing { get; init; }

    public required OnError OnError { get; init; }
}

/// <summary>Rows whose items are worked on.</summary>
sealed class VectorBatch<TPart, T>(int rows, TPart part) : RowBatch
{
    public TPart Part => part;

    public Exception?[] Errors { get; } = new Exception?[rows];

    public T[][] Values { get; } = new T[rows][];
}

/// <summary>Makes a vector of each item, on worker threads.</summary>
sealed class VectorComputation<TPart, T> : BatchComputation<VectorBatch<TPart, T>>
{
    readonly IHost _host;
    readonly VectorStep<TPart, T> _step;
    readonly T[] _missing;

    public VectorComputation(IHost host, VectorStep<TPart, T> step)
    {
        (_host, _step) = (host, step);
        _missing = [.. Enumerable.Repeat(step.Missing, step.Type.Size)]; // a size that is not known is 0
        var annotations = new DataViewSchema.Annotations.Builder();
        foreach (var (name, number) in step.Annotations)
            annotations.Add(name, NumberDataViewType.Int32, (ref int value) => value = number);
        Outputs = [new(step.Output, step.Type, annotations.ToAnnotations())];
    }

    public override int BatchSize => 8;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) =>
        [_step.Input.Find(input)];

    public override VectorBatch<TPart, T> NewBatch(int rows, Func<int, bool> isActive) => new(rows, _step.Input.NewPart(rows));

    public override Action<VectorBatch<TPart, T>, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<TPart, int> read = _step.Input.Reader(input);
        return (batch, slot) => read(batch.Part, slot);
    }

    public override void Prepare(VectorBatch<TPart, T> batch, int slot)
    {
        (batch.Errors[slot], batch.Values[slot]) = (null, _missing);
        try
        {
            T[] values = _step.Compute(batch.Part, slot);
            if (values.Length < _step.Type.Size) Array.Resize(ref values, _step.Type.Size);
            batch.Values[slot] = values;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            batch.Errors[slot] = _step.Input.Unreadable(batch.Part, slot, batch.FirstRow + slot, e);
        }
    }

    public override void Run(VectorBatch<TPart, T> batch, int count) { }

    public override Delegate Getter(int output, Func<(VectorBatch<TPart, T> Batch, int Slot)> current)
    {
        ValueGetter<VBuffer<T>> getter = (ref VBuffer<T> value) =>
        {
            var (batch, slot) = current();
            if (batch.Errors[slot] is { } error && _step.OnError == OnError.Throw) throw error;
            Columns.Fill<T>(ref value, batch.Values[slot]);
        };
        return getter;
    }

    public override int Failures(VectorBatch<TPart, T> batch, int count) =>
        _step.OnError == OnError.Throw ? 0 : batch.Errors.Take(count).Count(e => e is not null);

    public override void Report(long failures) =>
        Warn(_host, _step.Output, $"{failures} items could not be read; '{_step.Output}' is missing there.");
}

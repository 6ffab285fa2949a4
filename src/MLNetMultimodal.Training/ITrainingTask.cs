using MLNetMultimodal.Models.Checkpoints;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Where a training is.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="Steps">All steps of the training.</param>
readonly record struct TrainingPosition(int Step, int Steps);

/// <summary>Weights as plain data.</summary>
/// <param name="Values">By name, adapters merged into them.</param>
/// <param name="Adapter">The adapters alone; null without LoRA.</param>
sealed record TrainedWeights(IReadOnlyDictionary<string, TensorData> Values, LoraAdapter? Adapter = null);

/// <summary>What is trained: the weights, the rows and the loss. <see cref="TrainingLoop{TBatch}"/> does all else.</summary>
/// <typeparam name="TBatch">Some rows, ready for the engine; plain data, since it is made on another thread.</typeparam>
interface ITrainingTask<TBatch>
{
    /// <summary>The weights that the optimizer changes.</summary>
    IReadOnlyList<NamedParameter> Parameters { get; }

    /// <summary>Tensors that change without the optimizer, by name: queues, codebooks, a teacher. They go into checkpoints and are
    /// put back in place.</summary>
    IReadOnlyDictionary<string, Tensor> State => new Dictionary<string, Tensor>();

    /// <summary>What draws inside <see cref="Backward"/>, by name; what <see cref="Make"/> draws must follow from seed, epoch and row
    /// alone.</summary>
    IReadOnlyDictionary<string, torch.Generator> Generators => new Dictionary<string, torch.Generator>();

    /// <summary>Rows of the data, at least 1.</summary>
    int Rows { get; }

    /// <summary>What <see cref="Validate"/> gives, for the logs.</summary>
    string Metric { get; }

    /// <summary>What the result depends on beside options and rows, by name; a checkpoint of another training is refused.</summary>
    IReadOnlyDictionary<string, string> Description { get; }

    /// <summary>The rows in the order of an epoch; batches are taken from it one after the other. By default shuffled.</summary>
    /// <param name="seed">Of the options.</param>
    /// <param name="epoch">The pass over the data, from 0.</param>
    int[] Order(int seed, int epoch) => EpochOrder.Of(Rows, seed, epoch);

    /// <summary>Makes a batch, on any thread, one at a time.</summary>
    /// <param name="rows">Which rows.</param>
    /// <param name="epoch">The pass over the data, from 0.</param>
    TBatch Make(ReadOnlyMemory<int> rows, int epoch);

    /// <summary>Adds the batch's gradients to those of the weights.</summary>
    /// <returns>The loss.</returns>
    float Backward(TBatch batch, TrainingPosition at);

    /// <summary>Called after each step of the optimizer: clamps, teachers that follow.</summary>
    void AfterStep(TrainingPosition at)
    {
    }

    /// <summary>The quality of the weights as they are, the higher the better; null without validation data.</summary>
    double? Validate();

    /// <summary>A copy of the weights as they are.</summary>
    TrainedWeights Weights();
}

using Microsoft.ML;
using Microsoft.ML.Runtime;

namespace MLNetMultimodal;

/// <summary>What this library adds to <see cref="MLContext"/> itself: trainers and metrics of multimodal models.</summary>
public sealed class MultimodalCatalog
{
    internal MultimodalCatalog(IHostEnvironment environment) => (Environment, Trainers) = (environment, new(environment));

    /// <summary>Trainers; the package MLNetMultimodal.Training adds them.</summary>
    public MultimodalTrainers Trainers { get; }

    internal IHostEnvironment Environment { get; }
}

/// <summary>Trainers of multimodal models; the package MLNetMultimodal.Training adds them.</summary>
public sealed class MultimodalTrainers
{
    internal MultimodalTrainers(IHostEnvironment environment) => Environment = environment;

    internal IHostEnvironment Environment { get; }
}

/// <summary>Adds <see cref="MultimodalCatalog"/> to <see cref="MLContext"/>.</summary>
public static class MultimodalContext
{
    extension(MLContext ml)
    {
        /// <summary>Trainers and metrics of multimodal models.</summary>
        public MultimodalCatalog Multimodal => new(ml);
    }
}

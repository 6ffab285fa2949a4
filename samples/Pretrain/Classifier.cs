using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

/// <summary>How a classifier is fine-tuned; the same for every start.</summary>
/// <param name="LearningRate">Of the head and, times the decay, of the blocks before it.</param>
/// <param name="LayerDecay">What the rate is multiplied with from each block to the one before it.</param>
/// <param name="Epochs">Times that each picture is seen.</param>
/// <param name="PatchDropout">Share of the patches that a training step does not see, anew for each picture.</param>
sealed record Recipe(double LearningRate, double LayerDecay, int Epochs, double PatchDropout)
{
    public override string ToString() =>
        FormattableString.Invariant($"rate {LearningRate}, layer decay {LayerDecay}, {Epochs} epochs, patch dropout {PatchDropout}");
}

/// <summary>Some pictures of a set.</summary>
readonly record struct Part(LabelledPictures Pictures, IReadOnlyList<int> Rows);

/// <summary>An encoder with a linear head over the mean of its patches, all of it trained.</summary>
static class Classifier
{
    const int Batch = 32, Classes = 10;

    /// <summary>Fine-tunes on some pictures.</summary>
    /// <param name="vit">Sizes.</param>
    /// <param name="weights">The encoder's; null for random ones.</param>
    /// <param name="train">Pictures to learn from.</param>
    /// <param name="measured">Pictures to measure on, at the end and nowhere else.</param>
    /// <param name="recipe">How.</param>
    /// <param name="seed">Of the head, of random weights, of the order and of what is varied.</param>
    /// <returns>For each part that is measured, the share of its pictures that are classified right.</returns>
    public static double[] FineTune(
        VitModel vit, IReadOnlyDictionary<string, TensorData>? weights, Part train, IReadOnlyList<Part> measured, Recipe recipe, int seed)
    {
        using TorchModel model = weights is null ? TorchModel.Create(vit.Full, seed) : TorchModel.Load(vit.Full, weights);
        VitConfig c = vit.Config;
        torch.random.manual_seed(seed);
        using Linear head = nn.Linear(c.Blocks.Width, Classes);
        using IDisposable whole = NewDisposeScope();
        using (no_grad()) head.weight!.mul_(0.1);
        double Rate(ParameterSpec spec) => Math.Pow(recipe.LayerDecay, c.Blocks.Layers + 1 - Depth(spec.Name, c.Blocks.Layers));
        AdamW.ParamGroup Group(IEnumerable<Parameter> parameters, double rate, bool decays) =>
            new(parameters, new AdamW.Options { LearningRate = recipe.LearningRate * rate, InitialLearningRate = recipe.LearningRate * rate, weight_decay = decays ? 0.05 : 0 });
        var groups = model.Specs.GroupBy(s => (Rate: Rate(s), s.Decays)).Select(g => Group(g.Select(s => model.Parameters[s.Name]), g.Key.Rate, g.Key.Decays))
            .Append(Group(head.parameters(), 1, true)).ToList();
        using var optimizer = torch.optim.AdamW(groups, recipe.LearningRate, 0.9, 0.999);
        using var dropped = new Generator((ulong)seed);
        var ops = new TorchOps(model.Parameters);
        var trainingOps = new TorchOps(model.Parameters, new() { PatchDropout = recipe.PatchDropout, Generator = dropped });
        var random = new Random(seed);
        int stepsPerEpoch = train.Rows.Count / Batch, steps = stepsPerEpoch * recipe.Epochs, at = 0;
        for (int epoch = 0; epoch < recipe.Epochs; epoch++)
        {
            int[] order = [.. train.Rows];
            random.Shuffle(order);
            for (int i = 0; i < stepsPerEpoch; i++, at++)
            {
                using DisposeScope scope = NewDisposeScope();
                double warm = Math.Min(1, (at + 1) / (0.1 * steps)), factor = warm * 0.5 * (1 + Math.Cos(Math.PI * at / steps));
                foreach (var group in optimizer.ParamGroups) group.LearningRate = group.InitialLearningRate * factor;
                int[] batch = order[(i * Batch)..((i + 1) * Batch)];
                Tensor labels = tensor(batch.Select(r => (long)train.Pictures.Label(r)).ToArray());
                Tensor loss = F.cross_entropy(Logits(trainingOps, train.Pictures.Pixels(batch, random)), labels, label_smoothing: 0.1);
                optimizer.zero_grad();
                loss.backward();
                nn.utils.clip_grad_norm_(model.Parameters.Values, 1);
                optimizer.step();
            }
        }
        using IDisposable noGradients = no_grad();
        return [.. measured.Select(Right)];

        Tensor Logits(TorchOps ops, float[] pixels)
        {
            Tensor images = tensor(pixels, [pixels.Length / LabelledPictures.Size, 3, LabelledPictures.Edge, LabelledPictures.Edge]);
            Tensor tokens = Vit.Encode(ops, Name.Root, c, c.ImageSize, images);                         // [B, 1 + N', D]
            return head.forward(tokens.slice(1, 1, tokens.shape[1], 1).mean([1]));
        }

        double Right(Part part)
        {
            int right = 0;
            foreach (int[] rows in part.Rows.Chunk(250))
            {
                using DisposeScope scope = NewDisposeScope();
                long[] told = Logits(ops, part.Pictures.Pixels(rows)).argmax(1).data<long>().ToArray();
                right += rows.Where((row, i) => told[i] == part.Pictures.Label(row)).Count();
            }
            return (double)right / part.Rows.Count;
        }
    }

    static int Depth(string name, int layers) => name.StartsWith("encoder.layer.", StringComparison.Ordinal)
        ? int.Parse(name.Split('.')[2], System.Globalization.CultureInfo.InvariantCulture) + 1 : name.StartsWith("layernorm", StringComparison.Ordinal) ? layers + 1 : 0;
}

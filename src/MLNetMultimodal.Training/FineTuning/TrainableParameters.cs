using System.Globalization;
using System.Text.RegularExpressions;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Training;

/// <summary>Finds the weights that <see cref="FineTuningOptions"/> mean, in any family: by the encoder whose program asks for a
/// weight, and by the number of the block in its name.</summary>
static partial class TrainableParameters
{
    [GeneratedRegex(@"\.(?:layers|layer|blocks|resblocks)\.(\d+)\.")]
    private static partial Regex BlockNumber();

    /// <summary>Where a weight stands in its encoder.</summary>
    /// <param name="Modality">The encoder.</param>
    /// <param name="Depth">0 before the blocks, 1 for the first block, blocks + 1 for the head.</param>
    /// <param name="Blocks">Number of blocks.</param>
    readonly record struct Place(Modality Modality, int Depth, int Blocks);

    /// <summary>Says of each weight whether it is trained, and takes the gradients from those that are not.</summary>
    /// <returns>The trained weights, adapters among them.</returns>
    /// <exception cref="ArgumentException">Nothing but the logit scale would be trained.</exception>
    public static IReadOnlyList<NamedParameter> Select(IModelDefinition definition, TorchModel model, FineTuningOptions options)
    {
        Dictionary<string, Place> places = Places(definition);
        var trained = new List<NamedParameter>();
        foreach (ParameterSpec spec in model.Specs)
        {
            bool hasPlace = places.TryGetValue(spec.Name, out Place place);
            bool isTrained = options.Lora is null && (!hasPlace || IsTrained(place, options));
            model.Parameters[spec.Name].requires_grad = isTrained;
            if (isTrained) trained.Add(new(spec.Name, model.Parameters[spec.Name], spec.Decays, hasPlace ? Rate(place, options) : 1));
        }
        foreach (string layer in model.AdaptedLayers)
        {
            Place place = places[layer + ".weight"];
            foreach (string name in new[] { LoraAdapter.NameOfA(layer), LoraAdapter.NameOfB(layer) })
            {
                model.Parameters[name].requires_grad = IsTrained(place, options);
                if (IsTrained(place, options)) trained.Add(new(name, model.Parameters[name], Decays: true, Rate(place, options)));
            }
        }
        return trained.Any(p => places.ContainsKey(p.Name) || p.Name.Contains(".lora_", StringComparison.Ordinal)) ? trained
            : throw new ArgumentException($"FineTuning leaves nothing to train: {options}.");
    }

    static double Rate(Place place, FineTuningOptions options) => Math.Pow(options.LayerDecay, place.Blocks + 1 - place.Depth);

    static bool IsTrained(Place place, FineTuningOptions options) => options.Frozen switch
    {
        FrozenTowers.Image when place.Modality == Modality.Image => false,
        FrozenTowers.Text when place.Modality == Modality.Text => false,
        FrozenTowers.Audio when place.Modality == Modality.Audio => false,
        FrozenTowers.AllButHeads => place.Depth > place.Blocks,
        _ => options.LastLayers is not { } last || place.Depth > place.Blocks - last,
    };

    static Dictionary<string, Place> Places(IModelDefinition definition)
    {
        var places = new Dictionary<string, Place>(StringComparer.Ordinal);
        foreach (var (modality, program) in definition.Encoders)
        {
            IReadOnlyList<ParameterSpec> specs = ModelSummary.Of(program).Parameters; // in the order of use
            int?[] blocks = [.. specs.Select(s => BlockNumber().Match($".{s.Name}") is { Success: true } m
                ? int.Parse(m.Groups[1].ValueSpan, CultureInfo.InvariantCulture) : (int?)null)];
            int count = (blocks.Max() ?? -1) + 1, first = Array.FindIndex(blocks, b => b is not null);
            for (int i = 0; i < specs.Count; i++)
                places[specs[i].Name] = new(modality, blocks[i] is { } block ? block + 1 : i < first ? 0 : count + 1, count);
        }
        return places;
    }
}

using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Loss and gradients of one batch. A batch larger than the micro-batch goes through GradCache (Gao et al. 2021,
/// arXiv:2101.06983):
/// embeddings first without gradients, the loss over the whole batch, then each part again with the gradient that its embeddings
/// got, so that
/// loss and gradients are those of the large batch while memory is that of the small one.</summary>
sealed class ContrastiveStep(IModelDefinition definition, TorchModel model, (Modality First, Modality Second) senses, ContrastiveOptions options,
    Generator generator, Parameter? bias)
{
    readonly TorchOps _ops = model.Ops(new()
    {
        BFloat16 = options.BFloat16,
        PatchDropout = options.PatchDropout,
        LoraDropout = true,
        Generator = generator,
    });
    readonly Parameter _scale = model.Parameters[definition.LogitScale ?? throw new NotSupportedException(
        $"{definition.ModelType} has no logit scale; contrastive training needs one.")];

    /// <summary>Adds the batch's gradients to those of the weights.</summary>
    /// <returns>The loss.</returns>
    public float Backward(PairBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor first = batch.First.ToTensor(model.Device), second = batch.Second.ToTensor(model.Device);
        int micro = options.MicroBatchSize ?? batch.Count;
        if (micro >= batch.Count)
        {
            Tensor loss = Loss(Embed(senses.First, first), Embed(senses.Second, second), batch);
            loss.backward();
            return loss.item<float>();
        }

        using Tensor state = generator.get_state();
        using var ofFirst = new CachedEmbeddings(part => Embed(senses.First, part), first, micro);
        using var ofSecond = new CachedEmbeddings(part => Embed(senses.Second, part), second, micro);
        Tensor whole = Loss(ofFirst.Embeddings, ofSecond.Embeddings, batch);
        whole.backward();
        generator.set_state(state);
        ofFirst.Backward();
        ofSecond.Backward();
        return whole.item<float>();
    }

    Tensor Embed(Modality modality, Tensor input) => Embed(definition, _ops, modality, input);

    /// <summary>[U, ..] -> [U, E].</summary>
    public static Tensor Embed(IModelDefinition definition, TorchOps ops, Modality modality, Tensor input)
    {
        IProgram program = definition.Encoders[modality];
        return program.Run(ops, new Dictionary<string, Tensor> { [program.Inputs[0].Name] = input })[0].Value;
    }

    Tensor OfRows(Tensor embeds, ItemBatch items) =>
        items.Item is { } item ? embeds.index_select(0, tensor(item).to(model.Device)) : embeds;        // [U, E] -> [B, E]

    Tensor Loss(Tensor firstEmbeds, Tensor secondEmbeds, PairBatch batch)
    {
        Tensor first = OfRows(firstEmbeds, batch.First), second = OfRows(secondEmbeds, batch.Second);
        Tensor scale = _scale.exp();
        if (options.Objective == ContrastiveObjective.InfoNce) return ContrastiveLoss.InfoNce(first, second, scale);
        Tensor groups = tensor(batch.Groups).to(model.Device);
        Tensor positive = groups.unsqueeze(0).eq(groups.unsqueeze(1)).to(ScalarType.Float32);           // [B, B]
        return options.Objective == ContrastiveObjective.MultiPositive
            ? ContrastiveLoss.MultiPositive(first, second, scale, positive)
            : ContrastiveLoss.Sigmoid(first, second, scale, bias!, positive);
    }

    /// <summary>Embeddings of a large input, made part by part without gradients and again with them once their own gradient is
    /// known.</summary>
    sealed class CachedEmbeddings : IDisposable
    {
        readonly Func<Tensor, Tensor> _embed;
        readonly Tensor[] _parts;

        public CachedEmbeddings(Func<Tensor, Tensor> embed, Tensor input, int micro)
        {
            _embed = embed;
            _parts = input.split(micro);
            using IDisposable noGradients = no_grad();
            Embeddings = cat([.. _parts.Select(EmbedFreely)]).requires_grad_(true);
        }

        public Tensor Embeddings { get; }

        Tensor EmbedFreely(Tensor part)
        {
            using DisposeScope scope = NewDisposeScope();
            return _embed(part).MoveToOuterDisposeScope();
        }

        public void Backward()
        {
            long start = 0;
            foreach (Tensor part in _parts)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor embeds = _embed(part);
                // A frozen tower has nothing to learn, but draws as it did before, so that what follows sees the same masks.
                if (embeds.requires_grad) (embeds * Embeddings.grad!.slice(0, start, start + part.shape[0], 1)).sum().backward();
                start += part.shape[0];
            }
        }

        public void Dispose()
        {
            foreach (Tensor part in _parts) part.Dispose();
        }
    }
}
